//! BGP-4 (RFC 4271) and BFD (RFC 5880) sessions as state machines. Nothing is here yet.
