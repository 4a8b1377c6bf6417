//! The keys of recorded answers. In a Cluster all of them lie in the log's slot.
//!
//! A name by which clients know an answer may be all that protects it, so what stands in Redis is its hash.

use aws_lc_rs::digest;

use crate::capture::CopyName;
use crate::redis::client::slot::tag;

/// The keys, by what they are for.
#[derive(Clone, Debug)]
pub(in crate::redis) struct CaptureKeys {
    /// What all begin with.
    stem: String,
}

impl CaptureKeys {
    /// `key` decides on the slot.
    pub(in crate::redis) fn new(prefix: &str, key: &str) -> Self {
        let tag = String::from_utf8_lossy(tag(key.as_bytes())).into_owned();
        Self { stem: format!("{prefix}:capture:{{{tag}}}:") }
    }

    /// The hash of what is known of an answer.
    pub(in crate::redis) fn answer(&self, id: &str) -> String {
        format!("{}answer:{id}", self.stem)
    }

    /// The stream of its bytes.
    pub(in crate::redis) fn bytes(&self, id: &str) -> String {
        format!("{}bytes:{id}", self.stem)
    }

    /// The text with the id of the answer of this name.
    pub(in crate::redis) fn name(&self, CopyName { route, scope, name }: &CopyName) -> String {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [route.as_bytes(), &**scope, name.as_bytes()] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        format!("{}name:{}", self.stem, data_encoding::HEXLOWER.encode(hash.finish().as_ref()))
    }

    /// There while an instance lives.
    pub(in crate::redis) fn holder(&self, instance: &str) -> String {
        format!("{}holder:{instance}", self.stem)
    }

    /// The stream of what an instance is told.
    pub(in crate::redis) fn inbox(&self, instance: &str) -> String {
        format!("{}inbox:{instance}", self.stem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::client::slot::slot_of;

    #[test]
    fn all_keys_lie_in_the_logs_slot_and_no_name_can_be_read() {
        let keys = CaptureKeys::new("app", "app:log");
        let name = |route: &str, name: &str| {
            keys.name(&CopyName { route: route.into(), scope: [1].into(), name: name.into() })
        };
        let named = name("/chat", "secret");
        for key in [keys.answer("1"), keys.bytes("1"), named.clone(), keys.holder("i"), keys.inbox("i")] {
            assert_eq!(slot_of(key.as_bytes()), slot_of(b"app:log"), "{key}");
            assert!(!key.contains("secret"), "{key}");
        }
        assert_ne!(named, name("/chats", "ecret"));
        assert_ne!(named, name("/chat", "secret2"));
    }
}
