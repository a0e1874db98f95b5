//! The layer-7 engine of `l7-reverse` and `l7-transparent`. Nothing is here yet.
