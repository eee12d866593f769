//! Datagrams as Linux moves them: whole batches a system call, and the socket options std lacks. Knows no DNS.

pub mod sys;
