//! Which directory of a snapshot goes where. Pure.

use std::path::{Component, Path};

use strongroom_postgres::{
    physical::{
        exclude::{Place, Unlogged, Verdict, is_own, verdict},
        label::Tablespace,
    },
    wal::TablespaceCreation,
};
use strongroom_spec::Relocation;

use super::{ClusterRestoreError, Consent};
use crate::allowed::AllowedDirectory;

/// A tablespace and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) oid: u32,
    pub(super) from: String,
    pub(super) to: String,
    /// It is not where it lay: whoever asked has named another place, or it goes
    /// with the data directory.
    pub(super) moved: bool,
    /// It lay in the data directory, and does again.
    pub(super) inside: bool,
}

/// Where a data directory lay, and where it goes.
#[derive(Clone, Copy)]
pub(super) struct Home<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
}

impl Home<'_> {
    /// Where a tablespace goes that lay in the data directory, in a directory of
    /// its own there. PostgreSQL warns of such a place, and takes it.
    fn carried(&self, path: &str) -> Option<String> {
        let below = Path::new(path).strip_prefix(self.from).ok()?;
        let mut parts = below.components();
        let Some(Component::Normal(first)) = parts.next() else {
            return None;
        };
        let name = first.as_encoded_bytes();
        let servers = is_own(Place::Root, name)
            || verdict(Place::Root, name, &Unlogged::default()) != Verdict::Take;
        if servers || !parts.all(|part| matches!(part, Component::Normal(_))) {
            return None;
        }
        Some(Path::new(self.to).join(below).to_str()?.to_owned())
    }
}

impl Destination {
    /// Where it is moved to, by its old path or its number; else where it lay, in
    /// the data directory or elsewhere.
    fn new(oid: u32, from: String, moves: &[Relocation], home: Home<'_>) -> Self {
        let moved = moves
            .iter()
            .find(|relocation| names(relocation, oid, &from));
        let inside = match moved {
            Some(_) => None,
            None => home.carried(&from),
        };
        let to = moved.map_or(inside.as_deref(), |moved| Some(&moved.to));
        let to = to.unwrap_or(&from).to_owned();
        Self {
            oid,
            moved: moved.is_some() || to != from,
            to,
            from,
            inside: inside.is_some(),
        }
    }
}

fn names(relocation: &Relocation, oid: u32, path: &str) -> bool {
    let given = relocation.from.trim_end_matches('/');
    given == path.trim_end_matches('/') || given.trim_start_matches('/') == oid.to_string()
}

/// Where each tablespace of the base backup goes.
pub(super) fn destinations(
    tablespaces: &[Tablespace],
    moves: &[Relocation],
    home: Home<'_>,
) -> Vec<Destination> {
    // Those in their place lie in the data directory.
    let outside = tablespaces.iter().filter(|it| it.path.starts_with('/'));
    outside
        .map(|it| Destination::new(it.oid, it.path.clone(), moves, home))
        .collect()
}

/// Where each of those goes that the log makes, beside those that the base
/// backup has already.
pub(super) fn made(
    creations: &[&TablespaceCreation],
    bases: &[Destination],
    moves: &[Relocation],
    home: Home<'_>,
) -> Vec<Destination> {
    let mut made: Vec<Destination> = Vec::new();
    for creation in creations {
        let path = String::from_utf8_lossy(&creation.path).into_owned();
        let place = Destination::new(creation.oid, path, moves, home);
        let of_base = bases.iter().any(|it| it.oid == place.oid);
        if !of_base && !made.contains(&place) {
            made.push(place);
        }
    }
    made
}

/// Refuses moves of tablespaces that are not there, and directories within one
/// another. Two that are not moved may have the same one: they had it one after
/// the other.
pub(super) fn check(
    target: &str,
    bases: &[Destination],
    made: &[Destination],
    moves: &[Relocation],
) -> Result<(), ClusterRestoreError> {
    let all: Vec<&Destination> = bases.iter().chain(made).collect();
    let stray = moves
        .iter()
        .find(|relocation| !all.iter().any(|it| names(relocation, it.oid, &it.from)));
    if let Some(stray) = stray {
        let known: Vec<_> = all
            .iter()
            .map(|it| format!("{} ({})", it.from, it.oid))
            .collect();
        return Err(ClusterRestoreError::NoTablespace {
            from: stray.from.clone(),
            known: if known.is_empty() {
                "none".into()
            } else {
                known.join(", ")
            },
        });
    }
    for (index, place) in all.iter().enumerate() {
        if overlap(target, &place.to) && !place.inside {
            return Err(ClusterRestoreError::Overlap {
                first: target.to_owned(),
                second: place.shown(),
            });
        }
        let other = all[..index].iter().find(|other| {
            let stay = !other.moved && !place.moved && other.to == place.to;
            overlap(&other.to, &place.to) && !stay
        });
        if let Some(other) = other {
            return Err(ClusterRestoreError::Overlap {
                first: other.shown(),
                second: place.shown(),
            });
        }
    }
    Ok(())
}

/// A destination, and the directory there.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) to: Destination,
    pub(super) directory: AllowedDirectory,
}

impl Placed {
    /// Asks for the directory. A server that is led there by a link of ours is told
    /// where it really is; `by_name` for one that goes by the name in the log.
    pub(super) fn enter(
        mut to: Destination,
        by_name: bool,
        consent: Consent<'_>,
        not_back: impl FnOnce(&Destination, String) -> ClusterRestoreError,
    ) -> Result<Self, ClusterRestoreError> {
        let asked = consent(&to.to).and_then(|directory| {
            let path = directory.path();
            let text = path.to_str().map(ToOwned::to_owned);
            let not_text = || format!("{}, where it leads, is not UTF-8", path.display());
            Ok((text.ok_or_else(not_text)?, directory))
        });
        let (real, directory) = asked.map_err(|cause| {
            if to.moved {
                ClusterRestoreError::Refused(cause)
            } else {
                not_back(&to, cause)
            }
        })?;
        if !by_name {
            to.to = real;
        }
        Ok(Self { to, directory })
    }
}

/// Refuses directories that links lead into one another; of those that are not
/// moved two may have the same.
pub(super) fn check_apart(
    target: &AllowedDirectory,
    all: &[&Placed],
) -> Result<(), ClusterRestoreError> {
    let within = |left: &Path, right: &Path| left.starts_with(right) || right.starts_with(left);
    for (index, place) in all.iter().enumerate() {
        let path = place.directory.path();
        let refused = |first: String| ClusterRestoreError::Overlap {
            first,
            second: place.to.shown(),
        };
        let inside = place.to.inside && path.starts_with(target.path()) && path != target.path();
        if within(target.path(), path) && !inside {
            return Err(refused(target.path().display().to_string()));
        }
        let other = all[..index].iter().find(|other| {
            let (before, stay) = (other.directory.path(), !other.to.moved && !place.to.moved);
            within(before, path) && !(stay && before == path)
        });
        if let Some(other) = other {
            return Err(refused(other.to.shown()));
        }
    }
    Ok(())
}

impl Destination {
    fn shown(&self) -> String {
        format!("{} (tablespace {})", self.to, self.oid)
    }
}

/// Whether one path is the other, or lies below it.
fn overlap(left: &str, right: &str) -> bool {
    let parts = |path: &str| -> Vec<_> {
        Path::new(path)
            .components()
            .filter(|part| *part != Component::CurDir)
            .map(|part| part.as_os_str().to_owned())
            .collect()
    };
    let (left, right) = (parts(left), parts(right));
    left.starts_with(&right) || right.starts_with(&left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tablespace(oid: u32, path: &str) -> Tablespace {
        Tablespace {
            oid,
            path: path.into(),
        }
    }

    fn run(moves: &[(&str, &str)]) -> Result<Vec<(u32, String, bool)>, String> {
        let tablespaces = [
            tablespace(16_400, "/srv/fast"),
            tablespace(16_401, "/srv/slow"),
            tablespace(16_402, "pg_tblspc/16402"),
            tablespace(16_403, "/srv/pg/spaces/in"),
        ];
        let moves: Vec<_> = moves
            .iter()
            .map(|(from, to)| Relocation {
                from: (*from).into(),
                to: (*to).into(),
            })
            .collect();
        let home = Home {
            from: "/srv/pg/",
            to: "/restore/pg",
        };
        let all = destinations(&tablespaces, &moves, home);
        check("/restore/pg", &all, &[], &moves).map_err(|error| error.to_string())?;
        Ok(all
            .into_iter()
            .map(|it| (it.oid, it.to, it.moved))
            .collect())
    }

    #[test]
    fn tablespaces_stay_where_they_lay_unless_moved() {
        let stay = |oid, path: &str| (oid, path.to_owned(), false);
        assert_eq!(
            run(&[]).unwrap(),
            [
                stay(16_400, "/srv/fast"),
                stay(16_401, "/srv/slow"),
                (16_403, "/restore/pg/spaces/in".into(), true),
            ]
        );
        let moved = run(&[("/srv/fast/", "/new/a"), ("16401", "/new/b")]).unwrap();
        assert_eq!(moved[0], (16_400, "/new/a".into(), true));
        assert_eq!(moved[1], (16_401, "/new/b".into(), true));
    }

    #[test]
    fn what_lay_in_the_data_directory_goes_with_it() {
        let carried = |from: &str, to: &str, path: &str| Home { from, to }.carried(path);
        let there = |path: &str| carried("/srv/pg", "/new", path);
        assert_eq!(there("/srv/pg/ts").as_deref(), Some("/new/ts"));
        assert_eq!(there("/srv/pg/a/b=c").as_deref(), Some("/new/a/b=c"));
        assert_eq!(
            carried("/srv/pg", "/srv/pg", "/srv/pg/ts").as_deref(),
            Some("/srv/pg/ts")
        );
        for path in [
            "/srv/pg",
            "/srv/pg2/ts",
            "/srv/ts",
            "/srv/pg/../ts",
            "/srv/pg/ts/../../x",
            // Where the server has its own.
            "/srv/pg/base/ts",
            "/srv/pg/pg_tblspc/ts",
            "/srv/pg/pg_wal",
            "/srv/pg/pg_replslot/ts",
        ] {
            assert_eq!(there(path), None, "{path}");
        }
        assert_eq!(carried("", "/new", "/srv/pg/ts"), None);
        let place = Destination::new(
            7,
            "/srv/pg/ts".into(),
            &[],
            Home {
                from: "/srv/pg",
                to: "/srv/pg",
            },
        );
        assert!(place.inside && !place.moved, "{place:?}");
    }

    #[test]
    fn moves_of_others_are_refused_with_those_there_are() {
        let refusal = run(&[("/srv/other", "/new")]).unwrap_err();
        for part in ["/srv/other", "/srv/fast (16400)", "/srv/slow (16401)"] {
            assert!(refusal.contains(part), "{refusal}");
        }
    }

    #[test]
    fn directories_do_not_lie_in_one_another() {
        for to in [
            "/restore/pg",
            "/restore/pg/x",
            "/restore",
            "/srv/slow",
            "/srv/slow/x",
        ] {
            let refusal = run(&[("16400", to)]).unwrap_err();
            assert!(refusal.contains("one in the other"), "{refusal}");
        }
        run(&[("16400", "/restore/pg2")]).unwrap();
    }
}
