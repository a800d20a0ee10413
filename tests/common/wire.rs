//! As much of protobuf as upstream's SQLite store wraps two of its columns in.

/// One field of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Varint(u64),
    Bytes(Vec<u8>),
}

/// The fields of a message, in their order; `None` if it is none, or holds other kinds of field.
pub fn decode(mut bytes: &[u8]) -> Option<Vec<(u64, Field)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut bytes)?),
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                let (head, rest) = bytes.split_at_checked(len)?;
                bytes = rest;
                Field::Bytes(head.to_vec())
            }
            _ => return None,
        };
        fields.push((tag >> 3, field));
    }
    Some(fields)
}

/// The bytes of a message.
pub fn encode(fields: &[(u64, Field)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, field) in fields {
        match field {
            Field::Varint(value) => {
                put_varint(&mut bytes, number << 3);
                put_varint(&mut bytes, *value);
            }
            Field::Bytes(value) => {
                put_varint(&mut bytes, number << 3 | 2);
                put_varint(&mut bytes, value.len() as u64);
                bytes.extend(value);
            }
        }
    }
    bytes
}

pub fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The bytes of the field `number` of a message.
pub fn get(message: &[u8], number: u64) -> Option<Vec<u8>> {
    decode(message)?
        .into_iter()
        .find_map(|(found, field)| match field {
            Field::Bytes(bytes) if found == number => Some(bytes),
            _ => None,
        })
}

/// The message with the bytes of the field `number` replaced.
pub fn set(message: &[u8], number: u64, value: &[u8]) -> Vec<u8> {
    let mut fields = decode(message).expect("a message");
    for (found, field) in &mut fields {
        if *found == number && matches!(field, Field::Bytes(_)) {
            *field = Field::Bytes(value.to_vec());
        }
    }
    encode(&fields)
}
