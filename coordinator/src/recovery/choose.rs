//! Which base backup and which log a restore to a moment takes.

use std::fmt;

use jiff::Timestamp;
use strongroom_layout::position::{Lsn, TimelineId};
use strongroom_spec::{Recovery, RecoveryTarget};

use super::{
    Base, Cluster, Window,
    route::{Route, preferred, route, timelines},
    windows::{until, windows},
};
use crate::model::WalStretch;

/// Where a restore is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// As far as the log goes.
    Latest,
    /// Behind the last commit at or before this moment.
    Time(Timestamp),
    /// At a position.
    Lsn(Lsn),
    /// Behind a transaction's commit, which ends in one of these parts of the
    /// log: timeline, first byte, byte behind the last.
    Xid(u32, Vec<(TimelineId, Lsn, Lsn)>),
    /// At a named restore point, which stands in one of these places.
    RestorePoint(String, Vec<(TimelineId, Lsn)>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("the end of the log"),
            Self::Time(at) => at.fmt(f),
            Self::Lsn(lsn) => write!(f, "position {lsn}"),
            Self::Xid(xid, _) => write!(f, "transaction {xid}"),
            Self::RestorePoint(name, _) => write!(f, "restore point {name:?}"),
        }
    }
}

/// What to restore, and how far to roll it forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The base backup.
    pub base: Base,
    /// What to replay on top of it.
    pub recovery: Recovery,
}

/// Why a moment cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// There is nothing to begin with.
    #[error("there is no base backup of this cluster yet: run its policy once")]
    NoBase,
    /// No such timeline.
    #[error(
        "no base backup leads to timeline {timeline}: the archived log knows timelines {known}"
    )]
    NoTimeline {
        /// As asked.
        timeline: TimelineId,
        /// Those that there are.
        known: String,
    },
    /// Before, behind, or between the windows.
    #[error("{target} cannot be recovered: {windows}")]
    Outside {
        /// As asked.
        target: String,
        /// What can.
        windows: String,
    },
    /// No such name or transaction.
    #[error("the archived log holds no {0}")]
    NotFound(String),
    /// One name, several places.
    #[error("there are several restore points {name:?} ({places}): say which with --lsn")]
    Ambiguous {
        /// As asked.
        name: String,
        /// Where they stand.
        places: String,
    },
}

impl Unreachable {
    /// Whether it may be in the log of another cluster, or another line.
    pub fn is_elsewhere(&self) -> bool {
        !matches!(self, Self::Ambiguous { .. })
    }
}

/// Chooses the newest base backup from which the target can be reached, on the
/// timeline that is asked for, or else on the newest that the log leads onto; where
/// that does not lead to the target, on the newest that does. A moment before a
/// timeline began is on the one before, however far that was written.
pub fn choose(
    cluster: &Cluster,
    target: &Target,
    timeline: Option<TimelineId>,
) -> Result<Chosen, Unreachable> {
    if cluster.bases.is_empty() {
        return Err(Unreachable::NoBase);
    }
    let routes = routes(cluster, timeline)?;
    let (base, mut route) = match pick(cluster, routes, target) {
        Err(Unreachable::Outside { .. } | Unreachable::NotFound(_)) if timeline.is_none() => {
            pick(cluster, all_routes(cluster), target)?
        }
        picked => picked?,
    };
    if let (Target::Time(at), None) = (target, timeline) {
        route = written_at(cluster, base, &route, *at).unwrap_or(route);
    }
    let end = route.end;
    let mut legs = route.legs.clone();
    // What the log does not lead onto is not followed.
    if let Some(last) = legs.iter().position(|leg| leg.timeline == route.timeline) {
        legs.truncate(last + 1);
        if let Some(leg) = legs.last_mut() {
            leg.until = None;
        }
    }
    Ok(Chosen {
        base: base.clone(),
        recovery: Recovery {
            system: cluster.system,
            line: cluster.line,
            new_timeline: None,
            legs,
            end,
            target: match target {
                Target::Latest => RecoveryTarget::Latest,
                Target::Time(at) => RecoveryTarget::Time(*at),
                Target::Lsn(lsn) => RecoveryTarget::Lsn(*lsn),
                Target::Xid(xid, _) => RecoveryTarget::Xid(*xid),
                Target::RestorePoint(name, _) => RecoveryTarget::RestorePoint(name.clone()),
            },
        },
    })
}

/// The last of these that reaches the target.
fn pick<'c>(
    cluster: &'c Cluster,
    mut routes: Vec<(&'c Base, Route)>,
    target: &Target,
) -> Result<(&'c Base, Route), Unreachable> {
    let reaching = |(base, route): &(&Base, Route)| reaches(cluster, base, route, target);
    let found = match target {
        Target::RestorePoint(name, places) => {
            check_name(&routes, name, places)?;
            routes.iter().rposition(reaching)
        }
        Target::Xid(_, parts) if parts.is_empty() => {
            return Err(Unreachable::NotFound(format!("commit of {target}")));
        }
        // The newest timeline first, then the newest base.
        Target::Latest => {
            let numbered = routes.iter().enumerate();
            let key = |(_, (base, route)): &(usize, &(&Base, Route))| {
                (route.timeline, route.end, base.point.stop)
            };
            numbered.max_by_key(key).map(|(number, _)| number)
        }
        _ => routes.iter().rposition(reaching),
    };
    match found {
        Some(number) => Ok(routes.swap_remove(number)),
        None => Err(Unreachable::Outside {
            target: target.to_string(),
            windows: describe(&windows(cluster)),
        }),
    }
}

/// The way to the timeline that was written at that moment, if the route leaves it
/// before that for one that began later, though more of it is archived.
fn written_at(cluster: &Cluster, base: &Base, on: &Route, at: Timestamp) -> Option<Route> {
    let began_later = |timeline| {
        let mut histories = cluster.histories.iter();
        histories.any(|it| it.timeline == timeline && at < it.begun)
    };
    let left = on.legs.windows(2).find_map(|pair| match pair {
        [leg, next] if began_later(next.timeline) => Some(leg),
        _ => None,
    })?;
    let until = left.until?;
    let is_before = |(stretch, commit): &(WalStretch, Timestamp)| {
        (stretch.timeline, stretch.end) == (left.timeline, until) && at <= *commit
    };
    if cluster.last_commits.iter().any(is_before) {
        return None;
    }
    let route = route(cluster, base, left.timeline)?;
    (route.arrives() && until < route.end).then_some(route)
}

/// Every base with every way, the oldest timeline first, then the oldest base.
fn all_routes(cluster: &Cluster) -> Vec<(&Base, Route)> {
    let timelines = timelines(cluster).into_iter().rev();
    let on = |timeline| {
        let way = move |base| route(cluster, base, timeline).filter(Route::arrives);
        let bases = cluster.bases.iter();
        bases.filter_map(move |base| Some((base, way(base)?)))
    };
    timelines.flat_map(on).collect()
}

/// Every base with the way it would take, oldest first.
fn routes(
    cluster: &Cluster,
    timeline: Option<TimelineId>,
) -> Result<Vec<(&Base, Route)>, Unreachable> {
    let way = |base| match timeline {
        Some(timeline) => route(cluster, base, timeline).filter(Route::arrives),
        None => preferred(cluster, base),
    };
    let routes: Vec<_> = cluster
        .bases
        .iter()
        .filter_map(|base| Some((base, way(base)?)))
        .collect();
    match timeline {
        Some(timeline) if routes.is_empty() => Err(Unreachable::NoTimeline {
            timeline,
            known: list(timelines(cluster).iter().rev()),
        }),
        _ => Ok(routes),
    }
}

fn reaches(cluster: &Cluster, base: &Base, route: &Route, target: &Target) -> bool {
    match target {
        Target::Latest => true,
        Target::Time(at) => base.point.ended <= *at && *at <= until(cluster, base, route),
        Target::Lsn(lsn) => base.point.stop <= *lsn && *lsn <= route.end,
        Target::Xid(_, parts) => parts.iter().any(|(timeline, start, end)| {
            let behind = base.point.stop <= *start && *end <= route.end;
            behind && route.leads_over(*timeline, *start)
        }),
        Target::RestorePoint(_, places) => places
            .iter()
            .any(|(timeline, lsn)| route.leads_over(*timeline, *lsn) && base.point.stop <= *lsn),
    }
}

/// Replay stops at the first restore point of a name: there must be one only.
fn check_name(
    routes: &[(&Base, Route)],
    name: &str,
    places: &[(TimelineId, Lsn)],
) -> Result<(), Unreachable> {
    let is_on_one = |(timeline, lsn): &&(TimelineId, Lsn)| {
        let mut routes = routes.iter();
        routes.any(|(_, route)| route.leads_over(*timeline, *lsn))
    };
    let there: Vec<_> = places.iter().filter(is_on_one).collect();
    match there.len() {
        0 => Err(Unreachable::NotFound(format!("restore point {name:?}"))),
        1 => Ok(()),
        _ => Err(Unreachable::Ambiguous {
            name: name.to_owned(),
            places: list(there.iter().map(|(_, lsn)| lsn)),
        }),
    }
}

fn list<T: fmt::Display>(all: impl Iterator<Item = T>) -> String {
    let all: Vec<_> = all.map(|it| it.to_string()).collect();
    all.join(", ")
}

/// What can be recovered, and what not, for people.
fn describe(windows: &[Window]) -> String {
    let spans: Vec<_> = windows
        .iter()
        .map(|it| {
            let (from, to) = (it.from, it.to);
            if from == to {
                format!("at {from}")
            } else {
                format!("from {from} to {to}")
            }
        })
        .collect();
    match &spans[..] {
        [] => "there is no base backup of this cluster yet".into(),
        [one] => format!("recoverable is {one}"),
        many => format!(
            "recoverable is {}; between these there are gaps",
            many.join(", ")
        ),
    }
}
