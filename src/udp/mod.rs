//! Datagrams as Linux moves them: whole batches a system call, and the socket options std lacks. Knows no DNS.

pub mod answers;
pub mod clock;
pub mod connected;
pub mod events;
mod replies;
mod segment;
pub mod sys;
