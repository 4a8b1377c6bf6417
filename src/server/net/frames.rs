//! Where the frames of HTTP/2 are among bytes that pass, however these are cut. It knows no frame's meaning.

const HEADER: usize = 9;

/// Finds the frames of one direction.
pub(super) struct Frames {
    /// Bytes before the first frame.
    before: usize,
    header: [u8; HEADER],
    known: usize,
    /// What is left of the payload.
    payload: usize,
}

/// What is next.
pub(super) enum FramePiece<'b> {
    Head(FrameHead),
    /// A part of the payload of the frame whose head came last.
    Payload(&'b [u8]),
}

#[derive(Clone, Copy)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Frames {
    /// The first frame comes behind so many bytes.
    pub(super) fn behind(before: usize) -> Self {
        Self { before, header: [0; HEADER], known: 0, payload: 0 }
    }

    /// The next piece of `bytes`, which are what is behind it then.
    pub(super) fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<FramePiece<'b>> {
        let some = self.before.min(bytes.len());
        (self.before, *bytes) = (self.before - some, &bytes[some..]);
        if bytes.is_empty() {
            return None;
        }
        if self.payload > 0 {
            let (payload, rest) = bytes.split_at(self.payload.min(bytes.len()));
            (self.payload, *bytes) = (self.payload - payload.len(), rest);
            return Some(FramePiece::Payload(payload));
        }
        let some = (HEADER - self.known).min(bytes.len());
        self.header[self.known..self.known + some].copy_from_slice(&bytes[..some]);
        (self.known, *bytes) = (self.known + some, &bytes[some..]);
        if self.known < HEADER {
            return None;
        }
        self.known = 0;
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Some(FramePiece::Head(FrameHead { length: self.payload, kind, flags, stream }))
    }
}
