//! Domain names.
//!
//! | type | owned? | case | for |
//! |---|---|---|---|
//! | [`Name`] | yes | folded to lower case | names that are stored: apexes, owners, rule domains |
//! | [`FoldedName`] | fixed buffer | folded, with labels and suffix hashes | the QNAME of a query, the target of a CNAME |
//!
//! Names inside rdata keep the case they were written in and stay plain wire octets.

use std::fmt;

/// Octets of a name in wire form, the root's zero included (RFC 1035 section 2.3.4).
pub const NAME_OCTETS_MAX: usize = 255;
/// Octets of one label (RFC 1035 section 2.3.4).
pub const LABEL_OCTETS_MAX: usize = 63;
/// Labels that fit into 255 octets, the root not counted.
pub const LABELS_MAX: usize = 127;

/// Why octets or text are not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The octets end inside the name.
    Cut,
    /// A label over 63 octets.
    LabelTooLong,
    /// Over 255 octets in wire form.
    TooLong,
    /// An empty label that is not the root.
    EmptyLabel,
    /// A compression pointer, or a label type that RFC 1035 does not have.
    NotALabel,
    /// A backslash that no octet follows, or a number over 255.
    BadEscape,
    /// A space, a double quote or a control character that is not escaped.
    Unescaped,
    /// `@` where there is no origin.
    NoOrigin,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "the name is cut off",
            Self::LabelTooLong => "a label is at most 63 octets (RFC 1035 section 2.3.4)",
            Self::TooLong => "a name is at most 255 octets in wire form (RFC 1035 section 2.3.4)",
            Self::EmptyLabel => "a label is empty",
            Self::NotALabel => "a label has a type that is not allowed here",
            Self::BadEscape => {
                "a backslash is followed by no character, by fewer than three digits or by a number over 255"
            }
            Self::Unescaped => "a space, a double quote or a control character must be escaped",
            Self::NoOrigin => "@ stands for the origin, and there is none here",
        })
    }
}

/// An absolute domain name in wire form, folded to lower case (RFC 4343: names compare without case).
// Invariant: well-formed uncompressed labels, the root's zero last, at most 255 octets, no upper-case ASCII.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The root, `.`.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Reads a whole uncompressed name and folds its case.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        let octets = wire_name_octets(wire)?;
        if octets != wire.len() {
            return Err(NameError::EmptyLabel);
        }
        Ok(Self(wire.iter().map(u8::to_ascii_lowercase).collect()))
    }

    /// Builds a name from labels, leftmost first, without the root.
    pub fn from_labels<'l>(labels: impl IntoIterator<Item = &'l [u8]>) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(64);
        for label in labels {
            push_label(&mut wire, label)?;
        }
        wire.push(0);
        if wire.len() > NAME_OCTETS_MAX {
            return Err(NameError::TooLong);
        }
        Ok(Self(wire.iter().map(u8::to_ascii_lowercase).collect()))
    }

    /// The wire form, the root's zero included.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Labels, leftmost first, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> + '_ {
        Labels(&self.0)
    }

    /// Number of labels, the root not counted.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// The name without its leftmost label; none above the root.
    pub fn parent(&self) -> Option<Self> {
        let first = usize::from(*self.0.first()?);
        (first > 0).then(|| Self(self.0[first + 1..].into()))
    }

    /// Whether this name is `ancestor` or below it, compared label by label.
    pub fn is_at_or_below(&self, ancestor: &Self) -> bool {
        let mut rest: &[u8] = &self.0;
        loop {
            if rest == &*ancestor.0 {
                return true;
            }
            match rest.first() {
                Some(&octets) if octets > 0 => rest = &rest[usize::from(octets) + 1..],
                _ => return false,
            }
        }
    }

    /// Whether the leftmost label is `*` alone (RFC 4592 section 2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// This name with one label put before it.
    pub fn child(&self, label: &[u8]) -> Result<Self, NameError> {
        Self::from_labels(std::iter::once(label).chain(self.labels()))
    }
}

/// Appends one label to a name in the making.
fn push_label(wire: &mut Vec<u8>, label: &[u8]) -> Result<(), NameError> {
    match label.len() {
        0 => Err(NameError::EmptyLabel),
        octets @ 1..=LABEL_OCTETS_MAX => {
            wire.push(octets as u8);
            wire.extend_from_slice(label);
            Ok(())
        }
        _ => Err(NameError::LabelTooLong),
    }
}

/// Octets of the uncompressed name at the start of `wire`, the root's zero included.
pub fn wire_name_octets(wire: &[u8]) -> Result<usize, NameError> {
    let mut at = 0;
    loop {
        let octets = usize::from(*wire.get(at).ok_or(NameError::Cut)?);
        if octets > LABEL_OCTETS_MAX {
            return Err(NameError::NotALabel);
        }
        at += octets + 1;
        if at > NAME_OCTETS_MAX {
            return Err(NameError::TooLong);
        }
        if octets == 0 {
            return Ok(at);
        }
    }
}

/// Labels of a well-formed name in wire form, leftmost first.
struct Labels<'n>(&'n [u8]);

impl<'n> Iterator for Labels<'n> {
    type Item = &'n [u8];

    fn next(&mut self) -> Option<&'n [u8]> {
        let (&octets, rest) = self.0.split_first()?;
        if octets == 0 {
            return None;
        }
        let (label, rest) = rest.split_at_checked(usize::from(octets))?;
        self.0 = rest;
        Some(label)
    }
}

impl fmt::Display for Name {
    /// Presentation form, absolute, with decimal escapes (RFC 1035 section 5.1): safe to log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_wire_name(f, &self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_wire_name(f, &self.0)
    }
}

/// A well-formed wire name shown in presentation form, whatever its case.
pub struct DisplayWire<'n>(pub &'n [u8]);

impl fmt::Display for DisplayWire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_wire_name(f, self.0)
    }
}

/// Writes labels with a dot after each; octets that are not printable, or that mean something, are escaped.
fn write_wire_name(f: &mut fmt::Formatter<'_>, wire: &[u8]) -> fmt::Result {
    let mut labels = Labels(wire).peekable();
    if labels.peek().is_none() {
        return f.write_str(".");
    }
    for label in labels {
        for &octet in label {
            match octet {
                b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => write!(f, "\\{}", char::from(octet))?,
                0x21..=0x7e => write!(f, "{}", char::from(octet))?,
                _ => write!(f, "\\{octet:03}")?,
            }
        }
        f.write_str(".")?;
    }
    Ok(())
}

/// The secret that name hashes start from, drawn once a process: nobody outside can aim at one bucket.
#[derive(Clone, Copy, Debug)]
pub struct HashSeed(pub u64);

/// A name in a fixed buffer, folded to lower case, with its labels and the hash of every suffix.
///
/// Made to be overwritten: a worker keeps one a slot, and nothing is zeroed or allocated between queries.
// Invariant: wire[..octets] is a well-formed name; starts[i] is where suffix i (0 = whole name) begins;
// hashes[i] is the hash of suffix i; index `labels` is the root.
#[derive(Clone)]
pub struct FoldedName {
    wire: FoldedWire,
    octets: u8,
    labels: u8,
    starts: [u8; LABELS_MAX + 1],
    hashes: [u64; LABELS_MAX + 1],
}

/// Room for a name, and for a word of 8 octets that begins at any of its octets. What stands behind the name means
/// nothing.
type FoldedWire = [u8; 256 + 8];

impl fmt::Debug for FoldedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_wire_name(f, self.as_wire())
    }
}

impl Default for FoldedName {
    fn default() -> Self {
        Self { wire: [0; _], octets: 1, labels: 0, starts: [0; LABELS_MAX + 1], hashes: [0; LABELS_MAX + 1] }
    }
}

impl FoldedName {
    /// Reads the uncompressed name at the start of `wire`; returns its octets.
    pub fn read(&mut self, wire: &[u8], seed: HashSeed) -> Result<usize, NameError> {
        let beyond = if wire.len() < NAME_OCTETS_MAX { NameError::Cut } else { NameError::TooLong };
        let wire = &wire[..wire.len().min(NAME_OCTETS_MAX)];
        let mut at = 0usize;
        for (labels, start) in self.starts.iter_mut().enumerate() {
            let octets = usize::from(*wire.get(at).ok_or(beyond)?);
            *start = at as u8;
            if octets == 0 {
                fold(&mut self.wire, &wire[..=at]);
                self.octets = at as u8 + 1;
                self.labels = labels as u8;
                self.hash_suffixes(seed);
                return Ok(at + 1);
            }
            if octets > LABEL_OCTETS_MAX {
                return Err(NameError::NotALabel);
            }
            at += octets + 1;
        }
        // 128 labels take 256 octets.
        Err(NameError::TooLong)
    }

    /// Hashes from the root to the left, so that each suffix costs one label.
    fn hash_suffixes(&mut self, seed: HashSeed) {
        let labels = usize::from(self.labels) & LABELS_MAX;
        let mut hash = seed.0;
        self.hashes[labels] = hash;
        for index in (0..labels).rev() {
            hash = hash_label(hash, &self.wire, self.starts[index]);
            self.hashes[index] = hash;
        }
    }

    /// The folded wire form, the root's zero included.
    #[inline]
    pub fn as_wire(&self) -> &[u8] {
        &self.wire[..usize::from(self.octets)]
    }

    /// Number of labels, the root not counted.
    #[inline]
    pub fn label_count(&self) -> usize {
        usize::from(self.labels) & LABELS_MAX
    }

    /// The suffix of `labels` labels in wire form; the whole name if that is more than there are.
    #[inline]
    pub fn suffix(&self, labels: usize) -> &[u8] {
        &self.wire[self.suffix_start(labels)..usize::from(self.octets)]
    }

    /// The first label of the suffix of `labels` labels; empty for the root.
    pub fn label(&self, labels: usize) -> &[u8] {
        let start = self.suffix_start(labels);
        &self.wire[start + 1..][..usize::from(self.wire[start])]
    }

    /// Where the suffix of `labels` labels begins, counted from the start of the name.
    #[inline]
    pub fn suffix_start(&self, labels: usize) -> usize {
        usize::from(self.starts[self.label_count().saturating_sub(labels)])
    }

    /// The hash of the suffix of `labels` labels.
    #[inline]
    pub fn suffix_hash(&self, labels: usize) -> u64 {
        self.hashes[self.label_count().saturating_sub(labels)]
    }

    /// The same name to keep.
    pub fn to_name(&self) -> Name {
        Name(self.as_wire().into())
    }
}

/// The hash of a whole stored name: the same number that a query for it carries.
pub fn name_hash(name: &Name, seed: HashSeed) -> u64 {
    let mut folded = FoldedName::default();
    folded.read(name.as_wire(), seed).expect("a Name is well-formed");
    folded.suffix_hash(folded.label_count())
}

/// The hash of `*` before the suffix with this hash: the source of synthesis of a closest encloser.
#[inline]
pub fn wildcard_hash(suffix_hash: u64) -> u64 {
    mix(suffix_hash ^ (u64::from(b'*') | 1 << 56), LABEL_MULTIPLIER)
}

const LABEL_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Multiplies to 128 bits and folds the halves together.
#[inline]
pub fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Adds the label that begins at `start` to a hash, eight octets at a time; the label's length is in the last word.
#[inline]
fn hash_label(mut hash: u64, wire: &FoldedWire, start: u8) -> u64 {
    let octets = wire[usize::from(start)];
    // A label ends before the name's 255 octets do, so `at` never wraps.
    let mut at = start.wrapping_add(1);
    let mut left = octets;
    while left >= 8 {
        hash = mix(hash ^ word(wire, at), LABEL_MULTIPLIER ^ 0x5bd1_e995);
        at = at.wrapping_add(8);
        left -= 8;
    }
    let last = word(wire, at) & ((1 << (left * 8)) - 1);
    mix(hash ^ (last | u64::from(octets) << 56), LABEL_MULTIPLIER)
}

/// Eight octets from any place; a place of 8 bits leaves nothing to check.
#[inline]
fn word(wire: &FoldedWire, at: u8) -> u64 {
    let octets = wire[usize::from(at)..].first_chunk().expect("8 octets stand behind any place of 8 bits");
    u64::from_le_bytes(*octets)
}

/// Copies octets and turns upper-case ASCII to lower (length octets are at most 63 and never letters).
///
/// In blocks, so that the compiler uses vectors; the last block overlaps the one before instead of being shorter.
#[inline]
fn fold(to: &mut FoldedWire, from: &[u8]) {
    let (to, blocks) = (&mut to[..from.len()], from.as_chunks::<FOLD_BLOCK>().0);
    for (to, from) in to.as_chunks_mut().0.iter_mut().zip(blocks) {
        fold_block(to, from);
    }
    match (to.last_chunk_mut(), from.last_chunk()) {
        (Some(to), Some(from)) => fold_block(to, from),
        _ => to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_ascii_lowercase()),
    }
}

/// Octets that are folded at a time.
const FOLD_BLOCK: usize = 16;

/// Folds one block.
#[inline]
fn fold_block(to: &mut [u8; FOLD_BLOCK], from: &[u8; FOLD_BLOCK]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_ascii_lowercase());
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: HashSeed = HashSeed(7);

    #[test]
    fn suffix_hashes_equal_those_of_the_stored_suffix() {
        let mut folded = FoldedName::default();
        let octets = folded.read(b"\x09LongLabel\x03WwW\x07eXample\x00rest", SEED).expect("well-formed");
        assert_eq!(octets, 23);
        let mut name = folded.to_name();
        assert_eq!(name.to_string(), "longlabel.www.example.");
        for labels in (0..=3).rev() {
            assert_eq!(folded.suffix(labels), name.as_wire());
            assert_eq!(folded.suffix_hash(labels), name_hash(&name, SEED));
            name = name.parent().unwrap_or_else(Name::root);
        }
    }

    #[test]
    fn exactly_the_26_letters_are_folded_wherever_they_stand() {
        for length in [1, 7, 8, 9, 15, 16, 63] {
            for octet in 0..=255u8 {
                for at in [0, length / 2, length - 1] {
                    let mut wire = vec![length as u8];
                    wire.extend(std::iter::repeat_n(b'\xff', length));
                    wire.push(0);
                    wire[1 + at] = octet;
                    let mut folded = FoldedName::default();
                    folded.read(&wire, SEED).expect("well-formed");
                    assert_eq!(folded.as_wire(), wire.to_ascii_lowercase(), "{octet} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn wildcard_hash_is_that_of_the_wildcard_name() {
        let apex = Name::from_labels([b"corp".as_slice(), b"example"]).expect("short");
        let star = apex.child(b"*").expect("short");
        assert_eq!(wildcard_hash(name_hash(&apex, SEED)), name_hash(&star, SEED));
    }

    #[test]
    fn limits_of_rfc_1035() {
        let label = [b'a'; 63];
        let mut wire = Vec::new();
        for _ in 0..3 {
            push_label(&mut wire, &label).expect("63 is legal");
        }
        push_label(&mut wire, &label[..61]).expect("61 is legal");
        wire.push(0);
        assert_eq!(wire.len(), NAME_OCTETS_MAX);
        let mut folded = FoldedName::default();
        assert_eq!(folded.read(&wire, SEED), Ok(255));
        assert!(Name::from_wire(&wire).is_ok());
        wire[192] = 62;
        wire.insert(200, b'a');
        assert_eq!(folded.read(&wire, SEED), Err(NameError::TooLong));
        assert_eq!(Name::from_wire(&wire), Err(NameError::TooLong));
        assert_eq!(folded.read(b"\xc0\x0c", SEED), Err(NameError::NotALabel));
        assert_eq!(folded.read(b"\x03ab", SEED), Err(NameError::Cut));
        let ones: Vec<u8> = [1, b'x'].repeat(127).into_iter().chain([0]).collect();
        assert_eq!(folded.read(&ones, SEED), Ok(255));
        assert_eq!(folded.label_count(), 127);
    }

    #[test]
    fn at_or_below_compares_labels_not_strings() {
        let example = Name::from_labels([b"example".as_slice()]).expect("short");
        let below = example.child(b"a").expect("short");
        let other = Name::from_labels([b"notexample".as_slice()]).expect("short");
        assert!(below.is_at_or_below(&example) && example.is_at_or_below(&example));
        assert!(!other.is_at_or_below(&example) && other.is_at_or_below(&Name::root()));
    }
}
