//! Which slot of a Redis Cluster a key lies in: CRC16 (XMODEM) of its tag, modulo 16384.

/// The part of a key that decides on its slot: what stands in its first braces, or the whole.
pub(in crate::redis) fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    match key[open + 1..].iter().position(|&byte| byte == b'}') {
        Some(len @ 1..) => &key[open + 1..open + 1 + len],
        _ => key,
    }
}

/// The channel that lies on the shard of `key`.
pub(in crate::redis) fn sharded_channel(prefix: &str, key: &str) -> String {
    format!("{prefix}:{{{}}}", String::from_utf8_lossy(tag(key.as_bytes())))
}

/// The slot of a key.
pub(in crate::redis) fn slot_of(key: &[u8]) -> u16 {
    let crc = tag(key).iter().fold(0_u16, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % 16384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT answers.
        for (key, slot) in [
            ("123456789", 12739),
            ("foo", 12182),
            ("{user1000}.following", slot_of(b"user1000")),
            ("foo{}{bar}", slot_of(b"foo{}{bar}")),
            ("foo{{bar}}zap", slot_of(b"{bar")),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(tag(b"foo{bar}{zap}"), b"bar");
        assert_eq!(tag(b"foo{}{bar}"), b"foo{}{bar}");
    }
}
