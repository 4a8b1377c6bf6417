//! What was bridged last, as the stream's end tells it, and what the bridge writes there where something may be
//! missing.

use std::time::Duration;

use bytes::Bytes;

use crate::redis::client::connection::RedisConnection;
use crate::redis::client::decode::RespToken;
use crate::redis::client::error::RedisError;
use crate::redis::client::resp::write_command;
use crate::redis::log::entry::{BRIDGE, EVENT, gap_event};

const READING: &str = "reading the end of the stream";
/// How many entries are looked at.
const MAX_ENTRIES: usize = 1000;
/// About how many bytes of them are kept.
const MAX_BYTES: usize = 1 << 20;

impl RedisConnection {
    /// The newest bridged messages in the stream, the oldest of them first, and whether there may be more before.
    pub(in crate::redis) async fn bridged_end(
        &mut self,
        stream: &[u8],
        limit: Duration,
    ) -> Result<(Vec<Bytes>, bool), RedisError> {
        let mut command = Vec::new();
        let count = MAX_ENTRIES.to_string();
        write_command(&mut command, &[b"XREVRANGE", stream, b"+", b"-", b"COUNT", count.as_bytes()]);
        self.send(&command).await?;
        let entries = match self.token(limit, READING).await? {
            RespToken::Array(entries) => entries,
            RespToken::Error(text) => return Err(RedisError::refused(READING, &text, None)),
            _ => return Err(RedisError::Unexpected),
        };
        let (mut end, mut bytes, mut is_cut) = (Vec::new(), 0, entries == MAX_ENTRIES);
        for _ in 0..entries {
            let (entry, id) = (self.token(limit, READING).await?, self.token(limit, READING).await?);
            let (RespToken::Array(2), RespToken::Bulk(_)) = (entry, id) else {
                return Err(RedisError::Unexpected);
            };
            let RespToken::Array(fields) = self.token(limit, READING).await? else {
                return Err(RedisError::Unexpected);
            };
            let (mut event, mut is_bridged) = (None, false);
            for _ in 0..fields / 2 {
                let (name, value) = (self.token(limit, READING).await?, self.token(limit, READING).await?);
                match (name, value) {
                    (RespToken::Bulk(name), RespToken::Bulk(json)) if *name == *EVENT => event = Some(json),
                    (RespToken::Bulk(name), _) if *name == *BRIDGE => is_bridged = true,
                    _ => {}
                }
            }
            let is_message = |json: &Bytes| is_bridged && *json != gap_event().as_bytes();
            if let Some(json) = event.filter(is_message) {
                is_cut |= bytes >= MAX_BYTES;
                if bytes < MAX_BYTES {
                    bytes += json.len();
                    // A copy: it came in a larger piece.
                    end.push(Bytes::copy_from_slice(&json));
                }
            }
        }
        end.reverse();
        Ok((end, is_cut))
    }
}
