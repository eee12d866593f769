//! The catalogue of endpoint services and the private DNS names each has.
