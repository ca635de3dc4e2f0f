//! The channel of the moment, for whoever has something to ask the
//! coordinator while sessions come and go.

use tokio::sync::watch;
use tonic::transport::Channel;

/// Where the session puts its channel.
#[derive(Debug)]
pub struct LinkOwner(watch::Sender<Option<Channel>>);

/// Where everybody else finds it. Cheap to share.
#[derive(Debug, Clone)]
pub struct Link(watch::Receiver<Option<Channel>>);

/// A link without a channel yet.
pub fn link() -> (LinkOwner, Link) {
    let (sender, receiver) = watch::channel(None);
    (LinkOwner(sender), Link(receiver))
}

impl LinkOwner {
    /// A new channel. Requests under way on the last one go on there.
    pub(crate) fn set(&self, channel: Option<Channel>) {
        self.0.send_replace(channel);
    }
}

impl Link {
    /// The channel, as soon as there is one; `None` when there will be none
    /// any more.
    pub async fn channel(&mut self) -> Option<Channel> {
        let found = self.0.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }
}
