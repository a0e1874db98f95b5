//! The layer-7 engine of `l7-reverse` and `l7-transparent`. So far: how HTTP/1.1 messages are read, by the strict reading of RFC 9112.

pub mod http1;
