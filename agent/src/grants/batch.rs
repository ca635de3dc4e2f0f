//! Gathers single requests into batches, so that signing is never what an
//! upload waits for: while some batches are under way, the next one fills.

use futures::{
    StreamExt,
    stream::{FuturesUnordered, Stream},
};
use strongroom_layout::AttemptRef;
use strongroom_proto::v1;
use strongroom_wire::grant::{RequestToSign, SignAnswer, SignRequest, SignResponse};
use tokio::sync::{mpsc, oneshot};

use super::ask::{AskError, Asker};

/// Requests in one batch.
pub(super) const MAX_BATCH: usize = 64;
/// Batches under way.
const IN_FLIGHT: usize = 4;
/// Requests that wait for a batch; more wait to wait.
const QUEUE: usize = 256;

struct Waiting {
    request: RequestToSign,
    answer: oneshot::Sender<Result<SignAnswer, AskError>>,
}

/// Where single requests go in.
#[derive(Debug)]
pub(super) struct Batcher(mpsc::Sender<Waiting>);

/// What sends the batches; ends when its [`super::GrantAuthority`] is dropped.
pub struct Signing {
    attempt: AttemptRef,
    asker: Asker,
    queue: mpsc::Receiver<Waiting>,
}

pub(super) fn new(attempt: AttemptRef, asker: Asker) -> (Batcher, Signing) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let signing = Signing {
        attempt,
        asker,
        queue,
    };
    (Batcher(sender), signing)
}

impl Batcher {
    /// One request, in the next batch.
    pub(super) async fn sign(&self, request: RequestToSign) -> Result<SignAnswer, AskError> {
        let (answer, answered) = oneshot::channel();
        self.0
            .send(Waiting { request, answer })
            .await
            .map_err(|_| AskError::Cancelled)?;
        answered.await.unwrap_or(Err(AskError::Cancelled))
    }
}

impl Signing {
    /// Sends batches until the authority is dropped.
    pub async fn run(mut self) {
        let mut under_way = FuturesUnordered::new();
        let mut gathered = Vec::new();
        let mut open = true;
        while open || !under_way.is_empty() {
            tokio::select! {
                count = self.queue.recv_many(&mut gathered, MAX_BATCH),
                    if open && under_way.len() < IN_FLIGHT =>
                {
                    open = count > 0;
                    let batch = std::mem::take(&mut gathered);
                    if open {
                        under_way.push(send(self.attempt, self.asker.clone(), batch));
                    }
                }
                () = finish_one(&mut under_way), if !under_way.is_empty() => {}
            }
        }
    }
}

async fn finish_one(under_way: &mut (impl Stream<Item = ()> + Unpin)) {
    under_way.next().await;
}

async fn send(attempt: AttemptRef, asker: Asker, mut batch: Vec<Waiting>) {
    // Whoever waits no more needs no answer.
    batch.retain(|waiting| !waiting.answer.is_closed());
    if batch.is_empty() {
        return;
    }
    let request = SignRequest {
        attempt,
        requests: batch
            .iter()
            .map(|waiting| waiting.request.clone())
            .collect(),
    };
    let response: Result<SignResponse, _> = asker
        .ask(
            v1::SignRequest::from(request),
            async |mut client, request| client.sign(request).await,
        )
        .await;
    let answers = response.and_then(|response| {
        if response.answers.len() == batch.len() {
            return Ok(response.answers);
        }
        Err(AskError::Failed {
            message: format!(
                "the coordinator answered {} of {} requests to sign",
                response.answers.len(),
                batch.len()
            ),
        })
    });
    match answers {
        Ok(answers) => {
            for (waiting, answer) in batch.into_iter().zip(answers) {
                let _ = waiting.answer.send(Ok(answer));
            }
        }
        Err(error) => {
            for waiting in batch {
                let _ = waiting.answer.send(Err(error.clone()));
            }
        }
    }
}
