//! Placeholder until the property test stands.
