//! Which record data holds names that a sender may have compressed, and where.

use super::{Record, skip_name};
use crate::dns::Rtype;

/// One stretch of record data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Octets from here to there, to be copied as they stand.
    Octets(usize, usize),
    /// A name that begins here and may be compressed.
    Name(usize),
}

/// The pieces of a record's data in order; a none among them says that the data does not have its type's form.
pub(super) fn pieces(octets: &[u8], record: &Record) -> impl Iterator<Item = Option<Piece>> {
    let mut at = record.rdata_at;
    let end = record.end;
    let fields = fields(record.rtype);
    let mut whole = true;
    fields.iter().map_while(move |field| {
        if !whole {
            return None;
        }
        let piece = read_field(&octets[..end], *field, at);
        match piece {
            Some((_, next)) => at = next,
            None => whole = false,
        }
        Some(piece.map(|(piece, _)| piece))
    })
}

/// Reads one field that begins at `at`, in a message that is cut where the record ends; the piece and where it ends.
fn read_field(octets: &[u8], field: Field, at: usize) -> Option<(Piece, usize)> {
    let end = octets.len();
    let next = match field {
        Field::Name => return skip_name(octets, at).map(|next| (Piece::Name(at), next)),
        Field::Octets(count) => at + count,
        Field::Strings(count) => {
            (0..count).try_fold(at, |at, _| octets.get(at).map(|&string| at + 1 + usize::from(string)))?
        }
        Field::Rest => end,
        Field::End => return (at == end).then_some((Piece::Octets(at, at), at)),
    };
    (next <= end).then_some((Piece::Octets(at, next), next))
}

/// One field of a type's data.
#[derive(Clone, Copy, Debug)]
enum Field {
    /// A domain name.
    Name,
    /// So many octets.
    Octets(usize),
    /// So many character strings (RFC 1035 section 3.3).
    Strings(usize),
    /// Whatever is left.
    Rest,
    /// Nothing may be left.
    End,
}

/// The form of a type's data (RFC 3597 section 4: the types of RFC 1035, and those defined before it that were seen
/// compressed). DNAME and KX stand here too, because old senders compress them; uncompressed they come out unchanged.
fn fields(rtype: Rtype) -> &'static [Field] {
    use Field::{End, Name, Octets, Rest, Strings};
    match rtype.0 {
        // NS MD MF CNAME MB MG MR PTR DNAME
        2..=5 | 7..=9 | 12 | 39 => &[Name, End],
        // SOA
        6 => &[Name, Name, Octets(20), End],
        // MINFO RP
        14 | 17 => &[Name, Name, End],
        // MX AFSDB RT KX
        15 | 18 | 21 | 36 => &[Octets(2), Name, End],
        // SIG
        24 => &[Octets(18), Name, Rest],
        // PX
        26 => &[Octets(2), Name, Name, End],
        // NXT
        30 => &[Name, Rest],
        // SRV
        33 => &[Octets(6), Name, End],
        // NAPTR
        35 => &[Octets(4), Strings(3), Name, End],
        _ => &[Rest],
    }
}
