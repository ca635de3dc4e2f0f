//! From when to when a cluster can be recovered.

use jiff::Timestamp;
use strongroom_layout::{
    ObjectId,
    position::{Lsn, TimelineId},
};
use strongroom_wire::wal::WalPosition;

use super::{
    Base, Cluster,
    route::{Route, preferred},
};

/// A time in which every moment can be recovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The end of its first base backup.
    pub from: Timestamp,
    /// Behind which nothing is known to be there.
    pub to: Timestamp,
    /// The log goes on: `to` moves.
    pub open: bool,
    /// The timeline that it ends on.
    pub timeline: TimelineId,
    /// The position that it ends at.
    pub end: Lsn,
    /// Base backups in it, oldest first.
    pub bases: Vec<ObjectId>,
}

/// The windows of a cluster, oldest first, each on the timeline that is
/// preferred. What lies between two cannot be recovered.
pub fn windows(cluster: &Cluster) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for base in &cluster.bases {
        let Some(route) = preferred(cluster, base) else {
            continue;
        };
        let same = windows
            .iter_mut()
            .find(|it| it.timeline == route.timeline && it.end == route.end);
        match same {
            Some(window) => {
                window.to = window.to.max(until(cluster, base, &route));
                window.bases.push(base.snapshot);
            }
            None => windows.push(Window {
                from: base.point.ended,
                to: until(cluster, base, &route),
                open: is_open(cluster, &route),
                timeline: route.timeline,
                end: route.end,
                bases: vec![base.snapshot],
            }),
        }
    }
    windows
}

/// Whether the log goes on at the end of the route: that of a line that has ended
/// does not, whatever its agent said before.
fn is_open(cluster: &Cluster, route: &Route) -> bool {
    cluster.broken.is_none() && position(cluster, route).is_some()
}

/// What the agent that follows the log on this route said last: that may have
/// been a moment before it entered what is now the end.
fn position<'a>(cluster: &'a Cluster, route: &Route) -> Option<&'a WalPosition> {
    let position = cluster.position.as_ref();
    position.filter(|it| it.timeline == route.timeline && it.lsn <= route.end)
}

/// Until which moment everything is there: of a log that goes on, until its
/// agent last said that there was no more; else until the last commit in it.
pub(super) fn until(cluster: &Cluster, base: &Base, route: &Route) -> Timestamp {
    let said = position(cluster, route).and_then(|it| it.as_of);
    let commit = cluster
        .last_commits
        .iter()
        .filter(|(stretch, _)| stretch.end > base.point.stop && route.holds(stretch))
        .map(|(_, at)| *at)
        .max();
    let known = said.or(commit).unwrap_or(base.point.ended);
    known.max(base.point.ended)
}
