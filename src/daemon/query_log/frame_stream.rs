//! Frame streams (farsightsec/fstrm, `control.h`): each frame with its length before it, and control frames that both sides
//! begin and end with. Numbers are big-endian.

/// What the frames hold.
pub(super) const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

/// Control frames that a sender says or waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// The receiver takes this content.
    Accept = 1,
    /// Frames follow.
    Start = 2,
    /// That was the last.
    Stop = 3,
    /// The sender has this content.
    Ready = 4,
}

/// The field of a control frame that names what frames hold.
const FIELD_CONTENT_TYPE: u32 = 1;
/// Octets of a control frame at most, its length and what is before that not counted (`FSTRM_CONTROL_FRAME_LENGTH_MAX`).
const CONTROL_OCTETS_MAX: usize = 512;

/// A control frame: a length of 0, which no frame has, its own length, its type, and what frames hold.
pub(super) fn control(which: Control) -> Vec<u8> {
    let mut fields = (which as u32).to_be_bytes().to_vec();
    if which != Control::Stop {
        fields.extend(FIELD_CONTENT_TYPE.to_be_bytes());
        fields.extend((CONTENT_TYPE.len() as u32).to_be_bytes());
        fields.extend(CONTENT_TYPE);
    }
    let mut frame = vec![0; 4];
    frame.extend((fields.len() as u32).to_be_bytes());
    frame.append(&mut fields);
    frame
}

/// Whether what has come is an ACCEPT of our content; none: it is not whole yet.
pub(super) fn is_accept(received: &[u8]) -> Option<bool> {
    let mut words = received.chunks(4).map(|word| <[u8; 4]>::try_from(word).ok().map(u32::from_be_bytes));
    let mut word = || words.next().flatten();
    if word()? != 0 {
        return Some(false);
    }
    let octets = word()? as usize;
    if octets > CONTROL_OCTETS_MAX {
        return Some(false);
    }
    let mut fields = received.get(8..8 + octets)?;
    let number = |fields: &mut &[u8]| {
        let (number, rest) = fields.split_first_chunk::<4>()?;
        *fields = rest;
        Some(u32::from_be_bytes(*number))
    };
    if number(&mut fields) != Some(Control::Accept as u32) {
        return Some(false);
    }
    // One that names nothing takes everything.
    let mut names_any = false;
    while let (Some(field), Some(octets)) = (number(&mut fields), number(&mut fields)) {
        let Some((value, rest)) = fields.split_at_checked(octets as usize) else { return Some(false) };
        if field == FIELD_CONTENT_TYPE && value == CONTENT_TYPE {
            return Some(true);
        }
        (names_any, fields) = (names_any || field == FIELD_CONTENT_TYPE, rest);
    }
    Some(!names_any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_frames_are_as_the_library_writes_them() {
        let ready = b"\0\0\0\0\0\0\0\x22\0\0\0\x04\0\0\0\x01\0\0\0\x16protobuf:dnstap.Dnstap";
        assert_eq!(control(Control::Ready), ready);
        assert_eq!(control(Control::Stop), b"\0\0\0\0\0\0\0\x04\0\0\0\x03");
    }

    #[test]
    fn an_accept_is_known_when_it_is_whole() {
        let accept = control(Control::Accept);
        for whole in 0..accept.len() {
            assert_eq!(is_accept(&accept[..whole]), None, "{whole}");
        }
        assert_eq!(is_accept(&accept), Some(true));
        // Everything is accepted.
        assert_eq!(is_accept(b"\0\0\0\0\0\0\0\x04\0\0\0\x01"), Some(true));
        // Something else is; another control frame; a frame; a length that no control frame has.
        let other = [&accept[..20], b"protobuf:dnstap.Xnstap".as_slice()].concat();
        for refused in [&other[..], &control(Control::Ready), b"HTTP/1.1", b"\0\0\0\0\0\0\x02\x01"] {
            assert_eq!(is_accept(refused), Some(false), "{refused:?}");
        }
    }
}
