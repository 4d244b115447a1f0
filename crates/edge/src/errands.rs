//! Requests of the house's own that walk like any other: built here, answered by the walk, their answers collected.

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Request};
use model::errand::{Answer, Errand, Errands, Unanswered};
use model::gate::Caller;
use model::headers::request::{Client, Forwarded, Geo};
use model::pool::Boxed;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::sync::oneshot;

use crate::conn::Peer;
use crate::core::Core;
use crate::hosts::Hosts;
use crate::internal::{Counter, Job};
use crate::upload::Upload;
use crate::walk::{self, Answered, Arrival};

/// What no request line may hold. Apps write such paths for tasks and jobs all the same; servers refuse them.
const UNSENT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'{').add(b'}').add(b'|').add(b'^').add(b'\\');

/// An errand on its way to a core.
pub(crate) struct Sent {
    errand: Errand,
    reply: oneshot::Sender<Result<Answer, Unanswered>>,
}

impl Errands for Counter {
    fn run(&self, errand: Errand) -> Boxed<'static, Result<Answer, Unanswered>> {
        let (reply, answer) = oneshot::channel();
        self.give(Job::Errand(Box::new(Sent { errand, reply })));
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(Unanswered("the front end is closed".into()))) })
    }
}

/// Runs one, until it is answered or nobody waits any more.
pub(crate) async fn run(core: Rc<Core>, sent: Box<Sent>) {
    let Sent { errand, mut reply } = *sent;
    let answer = tokio::select! {
        answer = made(&core, errand) => answer,
        () = reply.closed() => return,
    };
    let _ = reply.send(answer);
}

async fn made(core: &Rc<Core>, mut errand: Errand) -> Result<Answer, Unanswered> {
    let mut parts = parts(&mut errand)?;
    // Answers to the house carry no place on earth, others that of their source.
    let geo = if errand.caller == Caller::External { core.house.geo(errand.source) } else { Geo::default() };
    let peer = Peer {
        ip: errand.source,
        port: if errand.https { core.house.https_port } else { core.house.http_port },
        trusted: false,
        client: Client::new(errand.source, errand.https, geo),
        forwarded: Forwarded::default(),
        hosts: Hosts::default(),
    };
    let (body, most) = (Upload::whole(std::mem::take(&mut errand.body)), errand.most);
    let arrival = Arrival {
        core,
        peer: &peer,
        parts: &mut parts,
        body,
        link: None,
        stall: None,
        refusal: None,
        errand: Some(Arc::new(errand)),
        stamped: false,
    };
    collect(walk::walk(arrival).await, most).await
}

fn parts(errand: &mut Errand) -> Result<Parts, Unanswered> {
    let bad = |what: &str| Unanswered(format!("{what} of the house's own request is malformed"));
    let host = HeaderValue::try_from(errand.authority.as_str()).map_err(|_| bad("the host"))?;
    let mut request = Request::new(());
    *request.uri_mut() = utf8_percent_encode(&errand.target, UNSENT).to_string().parse().map_err(|_| bad("the path"))?;
    *request.method_mut() = errand.method.clone();
    *request.headers_mut() = std::mem::take(&mut errand.headers);
    request.headers_mut().insert(HOST, host);
    Ok(request.into_parts().0)
}

async fn collect(answered: Answered, most: usize) -> Result<Answer, Unanswered> {
    let Answered { status, headers, mut body, reached, .. } = answered;
    let (mut all, mut cut) = (BytesMut::new(), false);
    while let Some(piece) = std::future::poll_fn(|cx| body.poll_piece(cx)).await {
        let piece: Bytes = piece.map_err(|aborted| Unanswered(aborted.to_string()))?;
        let room = most - all.len();
        cut = piece.len() > room;
        all.extend_from_slice(&piece[..piece.len().min(room)]);
        if cut {
            break;
        }
    }
    Ok(Answer { status, headers, body: all.freeze(), cut, reached })
}
