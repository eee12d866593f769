//! Walking an upstream's reply.
