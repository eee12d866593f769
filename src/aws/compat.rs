//! Where the VPC resolver has been seen to answer in a way that few operators want: off by default, and here by name.

/// What is done as AWS does it, though it need not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compat {
    /// Which negative answers carry an SOA.
    pub soa_in_negative_answers: SoaInNegativeAnswers,
}

/// Which negative answers carry an SOA in their authority section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SoaInNegativeAnswers {
    /// All of them (RFC 2308 section 2).
    #[default]
    Always,
    /// The first; those that repeat it during its lifetime do not. The VPC resolver's cache drops it, as was seen in
    /// <https://github.com/coredns/coredns/issues/5313>.
    First,
}

impl SoaInNegativeAnswers {
    /// Every value and its word in the configuration.
    pub const WORDS: [(&str, Self); 2] = [("always", Self::Always), ("first", Self::First)];
}
