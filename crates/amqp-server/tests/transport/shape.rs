//! Reads performatives as the strictest official client does: descriptor code at byte 2, a list8 or list32
//! right after it, every field at its place.

/// Field counts by descriptor code: open, begin, attach, flow, transfer, disposition, detach, end, close.
const FIELDS: [(u8, usize); 9] =
    [(0x10, 10), (0x11, 8), (0x12, 14), (0x13, 11), (0x14, 11), (0x15, 6), (0x16, 3), (0x17, 1), (0x18, 1)];
/// Fields that must not be null, because a client compares them or counts with them.
const NOT_NULL: [(u8, &[usize]); 7] = [
    (0x10, &[0, 2, 3, 4]),
    (0x11, &[0, 1, 2, 3, 4]),
    (0x12, &[0, 1, 2, 3, 4, 8, 10]),
    (0x13, &[0, 1, 2, 3, 8]),
    (0x14, &[0, 1, 2, 3, 4, 5]),
    (0x15, &[0, 1, 2, 3, 4]),
    (0x16, &[0, 1]),
];

/// Checks one frame body and returns the length of its performative.
pub(crate) fn check(body: &[u8]) -> usize {
    assert_eq!(&body[..2], &[0x00, 0x53], "the descriptor must be a smallulong");
    let code = body[2];
    let (count, fields_at, end) = list(&body[3..]);
    let (fields_at, end) = (fields_at + 3, end + 3);
    let expected =
        FIELDS.iter().find(|(c, _)| *c == code).unwrap_or_else(|| panic!("performative {code:#x}")).1;
    assert_eq!(count, expected, "fields of performative {code:#x}");
    let mut at = fields_at;
    let mut fields = Vec::new();
    for _ in 0..count {
        let len = value_len(&body[at..]);
        fields.push(&body[at..at + len]);
        at += len;
    }
    assert_eq!(at, end, "the list's size must end with its last field");
    for index in NOT_NULL.iter().filter(|(c, _)| *c == code).flat_map(|(_, fields)| *fields) {
        assert_ne!(fields[*index], [0x40], "field {index} of performative {code:#x} is null");
    }
    let error = match code {
        0x16 => Some(fields[2]),
        0x17 | 0x18 => Some(fields[0]),
        _ => None,
    };
    if let Some(error) = error.filter(|error| *error != [0x40]) {
        assert_eq!(&error[..3], &[0x00, 0x53, 0x1d], "an error's descriptor");
        assert_eq!(list(&error[3..]).0, 3, "an error has condition, description and info");
    }
    end
}

/// Count, first field and end of a list8 or list32.
fn list(bytes: &[u8]) -> (usize, usize, usize) {
    match bytes[0] {
        0xc0 => (bytes[2].into(), 3, 2 + usize::from(bytes[1])),
        0xd0 => (u32_at(bytes, 5), 9, 5 + u32_at(bytes, 1)),
        other => panic!("a list must be list8 or list32, not {other:#x}"),
    }
}

fn value_len(bytes: &[u8]) -> usize {
    match bytes[0] >> 4 {
        0x0 => {
            let descriptor = value_len(&bytes[1..]);
            1 + descriptor + value_len(&bytes[1 + descriptor..])
        }
        0x4 => {
            assert_ne!(bytes[0], 0x45, "list0 must not occur");
            1
        }
        0x5 => 2,
        0x6 => 3,
        0x7 => 5,
        0x8 => 9,
        0x9 => 17,
        0xa | 0xc | 0xe => 2 + usize::from(bytes[1]),
        _ => 5 + u32_at(bytes, 1),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()).try_into().unwrap()
}
