//! Why a request did not get its answer: whose fault it is, with the cause for the operator's log.
//!
//! Statuses are not picked here, and no text here is meant for the client but that of [`BadRequest`].

use std::io;
use std::time::Duration;

/// Why a request was not forwarded, or its answer not brought to its end.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Nobody's request could be served: the backend is down.
    #[error("cannot connect to the backend")]
    Connect(#[source] io::Error),
    /// The backend took longer than this to accept a connection.
    #[error("the backend did not accept a connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The backend had the request and was silent for this long.
    #[error("the backend did not begin its answer within {0:?}")]
    HeadTimeout(Duration),
    /// The backend closed or reset the connection before the head of its answer was complete.
    #[error("the backend broke off before it answered")]
    BrokeOff(#[source] hyper::Error),
    /// The backend closed or reset the connection in the middle of its answer's body.
    #[error("the backend broke off in the middle of its answer")]
    BrokeOffMidway(#[source] hyper::Error),
    /// What the backend sent is not an answer that can be passed on.
    #[error("the backend's answer is not valid HTTP")]
    BadAnswer(#[source] BadAnswer),
    /// The request cannot be passed on; nothing of it reached the backend.
    #[error("the request cannot be forwarded: {0}")]
    BadRequest(BadRequest),
    /// It has been forwarded too often: `public.backend` leads back here.
    #[error("the request has come around: `public.backend` leads back to sidestream")]
    Loop,
    /// The client sent nothing more of its request's body for this long.
    #[error("the client sent nothing of its request's body for {0:?}")]
    ClientStalled(Duration),
    /// The client broke off in the middle of its request's body. Nobody is left to read an answer.
    #[error("the client broke off in the middle of its request")]
    ClientLeft(#[source] hyper::Error),
}

/// What is wrong with the backend's answer.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    #[error(transparent)]
    Malformed(hyper::Error),
    #[error("its transfer coding is not plain `chunked`")]
    TransferCoding,
    #[error("it switches protocols unasked")]
    UnaskedUpgrade,
}

/// What is wrong with the request. The sentences may be told to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadRequest {
    #[error("the request target is neither a path nor an http URL")]
    Target,
    #[error("the request has no Host header")]
    NoHost,
    #[error("the request has more than one Host header")]
    TwoHosts,
    #[error("the request's Host header is not a host, or a host and a port")]
    Host,
    /// 501 by RFC 9112, section 6.1.
    #[error("the request's transfer coding is not plain chunked")]
    TransferCoding,
    /// There is nothing that this server would tunnel to.
    #[error("CONNECT is not served here")]
    Connect,
}

impl ProxyError {
    /// Whether it is the client that is at fault, and not the backend.
    pub fn is_the_clients(&self) -> bool {
        matches!(self, Self::BadRequest(_) | Self::ClientStalled(_) | Self::ClientLeft(_))
    }

    /// Sorts what hyper's client side reports before an answer's head. Only a request's body can fail on our side.
    pub(super) fn from_exchange(error: hyper::Error, has_body: bool) -> Self {
        if error.is_user() && has_body {
            Self::ClientLeft(error)
        } else if error.is_parse() {
            Self::BadAnswer(BadAnswer::Malformed(error))
        } else {
            Self::BrokeOff(error)
        }
    }
}
