//! Which directory of a snapshot goes where. Pure.

use std::path::{Component, Path};

use strongroom_postgres::{physical::label::Tablespace, wal::TablespaceCreation};
use strongroom_wire::job::Relocation;

use super::{ClusterRestoreError, Consent};
use crate::allowed::AllowedDirectory;

/// A tablespace and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) oid: u32,
    pub(super) from: String,
    pub(super) to: String,
    /// Named by whoever asked, and so consented to already.
    pub(super) moved: bool,
}

impl Destination {
    /// Where it is moved to, by its old path or its number; else where it lay.
    fn new(oid: u32, from: String, moves: &[Relocation]) -> Self {
        let moved = moves
            .iter()
            .find(|relocation| names(relocation, oid, &from));
        Self {
            oid,
            to: moved.map_or_else(|| from.clone(), |moved| moved.to.clone()),
            moved: moved.is_some(),
            from,
        }
    }
}

fn names(relocation: &Relocation, oid: u32, path: &str) -> bool {
    let given = relocation.from.trim_end_matches('/');
    given == path.trim_end_matches('/') || given.trim_start_matches('/') == oid.to_string()
}

/// Where each tablespace of the base backup goes.
pub(super) fn destinations(tablespaces: &[Tablespace], moves: &[Relocation]) -> Vec<Destination> {
    // Those in their place lie in the data directory.
    let outside = tablespaces.iter().filter(|it| it.path.starts_with('/'));
    outside
        .map(|it| Destination::new(it.oid, it.path.clone(), moves))
        .collect()
}

/// Where each of those goes that the log makes, beside those that the base
/// backup has already.
pub(super) fn made(
    creations: &[&TablespaceCreation],
    bases: &[Destination],
    moves: &[Relocation],
) -> Vec<Destination> {
    let mut made: Vec<Destination> = Vec::new();
    for creation in creations {
        let path = String::from_utf8_lossy(&creation.path).into_owned();
        let place = Destination::new(creation.oid, path, moves);
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
        if overlap(target, &place.to) {
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
        if within(target.path(), path) {
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
        ];
        let moves: Vec<_> = moves
            .iter()
            .map(|(from, to)| Relocation {
                from: (*from).into(),
                to: (*to).into(),
            })
            .collect();
        let all = destinations(&tablespaces, &moves);
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
            [stay(16_400, "/srv/fast"), stay(16_401, "/srv/slow")]
        );
        let moved = run(&[("/srv/fast/", "/new/a"), ("16401", "/new/b")]).unwrap();
        assert_eq!(moved[0], (16_400, "/new/a".into(), true));
        assert_eq!(moved[1], (16_401, "/new/b".into(), true));
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
