//! Which directory of a snapshot goes where. Pure.

use std::path::{Component, Path};

use strongroom_postgres::physical::label::Tablespace;
use strongroom_wire::job::Relocation;

use super::ClusterRestoreError;

/// A tablespace and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) oid: u32,
    pub(super) from: String,
    pub(super) to: String,
    /// Named by whoever asked, and so consented to already.
    pub(super) moved: bool,
}

/// Where each tablespace goes: where it is moved to (by its old path or its
/// number), else where it lay. Refuses moves of tablespaces that are not
/// there, and directories within one another.
pub(super) fn destinations(
    target: &str,
    tablespaces: &[Tablespace],
    moves: &[Relocation],
) -> Result<Vec<Destination>, ClusterRestoreError> {
    // Those in their place lie in the data directory.
    let tablespaces: Vec<_> = tablespaces
        .iter()
        .filter(|tablespace| tablespace.path.starts_with('/'))
        .collect();
    let names = |relocation: &Relocation, tablespace: &Tablespace| {
        let given = relocation.from.trim_end_matches('/');
        given == tablespace.path.trim_end_matches('/')
            || given.trim_start_matches('/') == tablespace.oid.to_string()
    };
    if let Some(stray) = moves
        .iter()
        .find(|relocation| !tablespaces.iter().any(|it| names(relocation, it)))
    {
        let known: Vec<_> = tablespaces
            .iter()
            .map(|it| format!("{} ({})", it.path, it.oid))
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
    let found: Vec<_> = tablespaces
        .into_iter()
        .map(|tablespace| {
            let moved = moves
                .iter()
                .find(|relocation| names(relocation, tablespace));
            Destination {
                oid: tablespace.oid,
                from: tablespace.path.clone(),
                to: moved.map_or_else(|| tablespace.path.clone(), |moved| moved.to.clone()),
                moved: moved.is_some(),
            }
        })
        .collect();
    let mut all: Vec<&str> = vec![target];
    for destination in &found {
        if let Some(other) = all.iter().find(|other| overlap(other, &destination.to)) {
            return Err(ClusterRestoreError::Overlap {
                first: (*other).to_owned(),
                second: destination.to.clone(),
            });
        }
        all.push(&destination.to);
    }
    Ok(found)
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
        destinations("/restore/pg", &tablespaces, &moves)
            .map(|all| {
                all.into_iter()
                    .map(|it| (it.oid, it.to, it.moved))
                    .collect()
            })
            .map_err(|error| error.to_string())
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
