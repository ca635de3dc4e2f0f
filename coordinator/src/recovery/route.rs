//! From a base backup along timelines.

use strongroom_layout::position::{Lsn, TimelineId};
use strongroom_spec::Leg;

use super::{Base, Cluster};
use crate::model::WalStretch;

/// The way from a base to a timeline, and how far it is archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    /// From the base's timeline to the last.
    pub(super) legs: Vec<Leg>,
    /// The log is archived up to here, without a gap; at least the base's own
    /// stop.
    pub(super) end: Lsn,
    /// The timeline that `end` is on.
    pub(super) timeline: TimelineId,
}

impl Route {
    /// Whether it leads onto its last timeline.
    pub(super) fn arrives(&self) -> bool {
        self.legs
            .last()
            .is_some_and(|leg| leg.timeline == self.timeline)
    }

    /// Whether a position of a timeline lies on it.
    pub(super) fn leads_over(&self, timeline: TimelineId, lsn: Lsn) -> bool {
        let mut legs = self.legs.iter();
        lsn <= self.end
            && legs.any(|leg| leg.timeline == timeline && leg.until.is_none_or(|it| lsn <= it))
    }

    /// Whether all of a stretch up to its end lies on it.
    pub(super) fn holds(&self, stretch: &WalStretch) -> bool {
        self.leads_over(stretch.timeline, stretch.end)
    }
}

/// The timelines that one could follow: those with log, history or base.
/// Newest first.
pub(super) fn timelines(cluster: &Cluster) -> Vec<TimelineId> {
    let mut all: Vec<_> = cluster
        .stretches
        .iter()
        .map(|it| it.timeline)
        .chain(cluster.histories.iter().map(|it| it.timeline))
        .chain(cluster.bases.iter().map(|it| it.point.timeline))
        .collect();
    all.sort_unstable();
    all.dedup();
    all.reverse();
    all
}

/// The way from a base to a timeline; `None` when that did not come out of the
/// base's, or left it before the base was complete.
pub(super) fn route(cluster: &Cluster, base: &Base, to: TimelineId) -> Option<Route> {
    let mut legs = cluster
        .histories
        .iter()
        .find(|it| it.timeline == to)
        .map(|it| it.legs.clone())
        .unwrap_or_default();
    legs.push(Leg {
        timeline: to,
        until: None,
    });
    let from = legs
        .iter()
        .position(|leg| leg.timeline == base.point.timeline)?;
    let legs = legs.split_off(from);
    let complete = legs
        .first()
        .and_then(|leg| leg.until)
        .is_none_or(|until| base.point.stop <= until);
    complete.then(|| follow(cluster, base, legs))
}

/// A timeline begins with a copy of the segment in which it left the one
/// before it. So log of a later timeline counts from wherever it begins, and
/// log of an earlier one up to where it was left.
fn follow(cluster: &Cluster, base: &Base, legs: Vec<Leg>) -> Route {
    let mut spans: Vec<(Lsn, Lsn)> = Vec::new();
    for stretch in &cluster.stretches {
        let leg = legs.iter().find(|leg| leg.timeline == stretch.timeline);
        if let Some(leg) = leg {
            let end = leg
                .until
                .map_or(stretch.end, |until| stretch.end.min(until));
            spans.push((stretch.start, end));
        }
    }
    spans.sort_unstable();
    let mut end = base.point.stop;
    for (start, to) in spans {
        if start <= end {
            end = end.max(to);
        }
    }
    // Where two timelines meet, what is complete up to there is on the later.
    let timeline = legs
        .iter()
        .find(|leg| leg.until.is_none_or(|until| end < until))
        .map_or(base.point.timeline, |leg| leg.timeline);
    Route {
        legs,
        end,
        timeline,
    }
}

/// The way that is taken unless somebody says otherwise: to the newest timeline
/// that the log leads onto.
pub(super) fn preferred(cluster: &Cluster, base: &Base) -> Option<Route> {
    let routes: Vec<Route> = timelines(cluster)
        .into_iter()
        .filter_map(|timeline| route(cluster, base, timeline))
        .collect();
    routes
        .iter()
        .find(|route| route.arrives())
        .or_else(|| routes.iter().max_by_key(|route| route.end))
        .cloned()
}
