//! Which node of a cluster owns which keys.
//!
//! Source: Redis Cluster specification, "Key distribution model" and "Redirection and resharding"; `CLUSTER SLOTS`.

use ::redis::Value;

/// How many slots every cluster has.
pub(super) const SLOTS: usize = 16_384;

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
        }
    }
}

/// Slots that one node owns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) owner: Address,
}

/// The slot of a key: of its hash tag, if it has one.
pub(super) fn slot_of(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty());
    let checksum = tag.unwrap_or(key).bytes().fold(0_u16, |checksum, byte| {
        xmodem(checksum ^ (u16::from(byte) << 8))
    });
    checksum % 16_384
}

/// CRC-16/XMODEM of one byte, bit by bit: a user's name is short, and a table would be longer than this.
fn xmodem(checksum: u16) -> u16 {
    (0..8).fold(checksum, |checksum, _| {
        let shifted = checksum << 1;
        if checksum & 0x8000 == 0 {
            shifted
        } else {
            shifted ^ 0x1021
        }
    })
}

/// The ranges of a reply to `CLUSTER SLOTS` by the node at `asked`; `None` if it is not one. Slots that nobody owns are in none.
pub(super) fn ranges(reply: &Value, asked: &str) -> Option<Vec<Range>> {
    items(reply)?
        .iter()
        .map(|range| {
            let [first, last, owner, ..] = items(range)? else {
                return None;
            };
            let [host, port, ..] = items(owner)? else {
                return None;
            };
            let host = match host {
                Value::Nil => "",
                Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
                Value::SimpleString(text) => text,
                _ => return None,
            };
            Some(Range {
                first: number(first).filter(|first| usize::from(*first) < SLOTS)?,
                last: number(last).filter(|last| usize::from(*last) < SLOTS)?,
                owner: Address::new(known(host, asked), number(port)?),
            })
        })
        .collect()
}

/// A node that does not know under which name it is reached leaves it empty, or says `?`: it is the one it was asked by.
pub(super) fn known<'a>(host: &'a str, asked: &'a str) -> &'a str {
    if matches!(host, "" | "?") {
        asked
    } else {
        host
    }
}

fn items(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn a_key_lies_where_redis_says() {
        // Source: `CLUSTER KEYSLOT` of Redis 7.0; the first is the check value of CRC-16/XMODEM, 0x31C3.
        for (key, slot) in [
            ("123456789", 12_739),
            ("quota:{u}:2026-11-23", 11_826),
            ("quota:{müller}:state", 7_733),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("foo{bar}{zap}", 5_061),
            ("foo{bar", 15_278),
            ("", 0),
        ] {
            assert_eq!(slot_of(key), slot, "{key}");
        }
    }

    #[test]
    fn a_node_without_a_name_is_the_one_that_was_asked() {
        let range = |first, last, host| {
            let owner = Value::Array(vec![
                host,
                Value::Int(6379),
                text("id"),
                Value::Array(vec![]),
            ]);
            Value::Array(vec![Value::Int(first), Value::Int(last), owner, Value::Nil])
        };
        let reply = Value::Array(vec![
            range(0, 9, text("10.0.0.1")),
            range(10, 19, text("")),
            range(20, 29, Value::Nil),
            range(30, 39, text("?")),
        ]);
        let owners: Vec<_> = ranges(&reply, "asked")
            .unwrap()
            .into_iter()
            .map(|range| (range.first, range.last, range.owner.host))
            .collect();
        let expected = [
            (0, 9, "10.0.0.1"),
            (10, 19, "asked"),
            (20, 29, "asked"),
            (30, 39, "asked"),
        ];
        assert_eq!(
            owners,
            expected.map(|(first, last, host)| (first, last, host.to_owned()))
        );
    }

    #[test]
    fn what_is_not_a_map_is_none() {
        let owner = || Value::Array(vec![text("h"), Value::Int(1)]);
        let range = |first, last| Value::Array(vec![Value::Int(first), Value::Int(last), owner()]);
        assert_eq!(ranges(&Value::Array(vec![]), "asked"), Some(vec![]));
        assert!(ranges(&Value::Array(vec![range(0, 16_383)]), "asked").is_some());
        assert_eq!(ranges(&Value::Array(vec![range(0, 16_384)]), "asked"), None);
        assert_eq!(ranges(&Value::Array(vec![range(-1, 5)]), "asked"), None);
        assert_eq!(ranges(&Value::Array(vec![owner()]), "asked"), None);
        assert_eq!(ranges(&Value::Okay, "asked"), None);
    }
}
