//! References that leave a selection: what is in a dump and needs what is not.
//!
//! A foreign key to a table that is left out, a view of one, a default that
//! draws from a sequence, the type of a column: the dump holds them, and a
//! restore will not be able to make them. They are found in the catalog, by the
//! objects that the dump really holds.

use std::collections::{HashMap, HashSet};

use super::{
    archive::ObjectAddress,
    hold::Held,
    list::{Inside, Listed},
};
use crate::{
    connection::{Connection, ServerError, Session},
    name::Text,
    sql,
};

/// Object ids of users begin there.
const FIRST_OF_USERS: u32 = 16_384;
/// Catalogs by their object ids (`pg_class.dat`, fixed for ever).
const RELATION: u32 = 1259;
const SCHEMA: u32 = 2615;
const EXTENSION: u32 = 3079;
/// References that are described.
pub const MOST: usize = 100;

/// Something that a dump holds, and what it needs that the dump lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// As the server describes it: `table public.child`.
    pub from: String,
    /// `table public.parent`.
    pub to: String,
}

/// References that leave a dump; the first [`MOST`], and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// In no order.
    pub first: Vec<Reference>,
    /// In all.
    pub count: usize,
}

/// What depends on what in a held snapshot.
#[derive(Debug)]
pub struct Dependencies(Vec<Dependency>);

/// What is in a dump and needs what is not, by object ids.
#[derive(Debug, Default)]
pub struct Leaving(Vec<(ObjectAddress, ObjectAddress)>);

/// A row of `pg_depend`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dependency {
    object: ObjectAddress,
    on: ObjectAddress,
    kind: u8,
}

impl Held {
    /// Everything of users. Asked before a dump, so that nothing of this session is
    /// needed behind it.
    pub async fn dependencies(&self) -> Result<Dependencies, ServerError> {
        dependencies(&self.session).await.map(Dependencies)
    }

    /// What they are, in the server's words.
    pub async fn describe_references(&self, leaving: &Leaving) -> Result<References, ServerError> {
        leaving.describe(&self.session).await
    }
}

impl Dependencies {
    /// Those that leave a dump of these objects.
    pub fn leaving(&self, inside: &Inside, objects: &[ObjectAddress]) -> Leaving {
        Leaving(leaving(inside, objects, &self.0))
    }
}

impl Leaving {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn first(&self) -> &[(ObjectAddress, ObjectAddress)] {
        &self.0[..self.0.len().min(MOST)]
    }

    /// The same in another session, when the one of the dump is gone: names may have
    /// changed since.
    pub async fn describe_elsewhere(
        &self,
        connection: &Connection,
        database: &str,
    ) -> Result<References, ServerError> {
        let session = Session::open(connection, Some(database)).await?;
        let described = self.describe(&session).await;
        session.close().await;
        described
    }

    async fn describe(&self, session: &Session) -> Result<References, ServerError> {
        let first = self.first();
        let from = describe(session, first.iter().map(|it| it.0)).await?;
        let to = describe(session, first.iter().map(|it| it.1)).await?;
        Ok(self.named(from.into_iter().zip(to)))
    }

    /// As far as the dump's own catalog names them, where no server does.
    pub fn describe_unasked(&self, inside: &Inside) -> References {
        let name = |object: ObjectAddress| {
            let listed = inside.relations.iter();
            let mut listed =
                listed.filter(|it| object.class == RELATION && it.oid == object.object);
            listed.next().map_or_else(
                || format!("object {} of catalog {}", object.object, object.class),
                |it| format!("relation {}", sql::qualified(&it.schema, &it.name)),
            )
        };
        let first = self.first().iter();
        self.named(first.map(|(from, to)| (name(*from), name(*to))))
    }

    fn named(&self, first: impl Iterator<Item = (String, String)>) -> References {
        References {
            first: first.map(|(from, to)| Reference { from, to }).collect(),
            count: self.0.len(),
        }
    }
}

async fn dependencies(session: &Session) -> Result<Vec<Dependency>, ServerError> {
    let what = "list what depends on what";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let rows = session
        .query(
            "SELECT classid, objid, refclassid, refobjid, deptype FROM pg_catalog.pg_depend \
             WHERE objid OPERATOR(pg_catalog.>=) 16384 \
             AND refobjid OPERATOR(pg_catalog.>=) 16384",
            &[],
        )
        .await
        .map_err(error)?;
    rows.iter()
        .map(|row| {
            Ok(Dependency {
                object: ObjectAddress {
                    class: row.try_get(0)?,
                    object: row.try_get(1)?,
                },
                on: ObjectAddress {
                    class: row.try_get(2)?,
                    object: row.try_get(3)?,
                },
                kind: row.try_get::<_, i8>(4)?.cast_unsigned(),
            })
        })
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// In the server's words, with the schema where there is one.
async fn describe(
    session: &Session,
    objects: impl Iterator<Item = ObjectAddress>,
) -> Result<Vec<String>, ServerError> {
    let what = "describe objects";
    let error = |error: tokio_postgres::Error| ServerError::query(what, &error);
    let (classes, objects): (Vec<u32>, Vec<u32>) = objects.map(|it| (it.class, it.object)).unzip();
    let rows = session
        .query(
            "SELECT COALESCE(pg_catalog.pg_describe_object(x.class, y.object, 0), 'an object') \
             FROM pg_catalog.unnest($1::pg_catalog.oid[]) WITH ORDINALITY AS x (class, place) \
             JOIN pg_catalog.unnest($2::pg_catalog.oid[]) WITH ORDINALITY AS y (object, place) \
             ON y.place OPERATOR(pg_catalog.=) x.place ORDER BY x.place",
            &[&classes, &objects],
        )
        .await
        .map_err(error)?;
    rows.iter()
        .map(|row| row.try_get(0).map(|Text(text)| text))
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// What is dumped, and on what it depends.
struct Graph<'a> {
    dumped: HashSet<ObjectAddress>,
    /// Relations that a selection takes or leaves by themselves.
    listed: HashSet<u32>,
    on: HashMap<ObjectAddress, Vec<&'a Dependency>>,
}

impl<'a> Graph<'a> {
    fn new(inside: &Inside, objects: &[ObjectAddress], all: &'a [Dependency]) -> Self {
        let mut on: HashMap<_, Vec<_>> = HashMap::new();
        for dependency in all {
            on.entry(dependency.object).or_default().push(dependency);
        }
        Self {
            dumped: objects.iter().copied().filter(|it| it.class != 0).collect(),
            listed: inside.relations.iter().map(|it| it.oid).collect(),
            on,
        }
    }

    fn is_listed(&self, object: ObjectAddress) -> bool {
        object.class == RELATION && self.listed.contains(&object.object)
    }

    /// What it is a part of: a column's default of its table, an array's type of
    /// its element's, a member of its extension.
    fn wholes(&self, object: ObjectAddress) -> impl Iterator<Item = ObjectAddress> + '_ {
        // A partition and an owned sequence are relations of their own.
        let kinds: &[u8] = if self.is_listed(object) {
            b"ie"
        } else {
            b"iae"
        };
        let on = self.on.get(&object).into_iter().flatten();
        on.filter(move |it| kinds.contains(&it.kind) && it.on != object)
            .map(|it| it.on)
    }

    /// The dumped object that it is a part of, or itself.
    fn dumped(&self, object: ObjectAddress) -> Option<ObjectAddress> {
        self.find(object, |it| self.dumped.contains(&it))
    }

    /// What people would call it: the outermost that it is a part of.
    fn outermost(&self, object: ObjectAddress) -> ObjectAddress {
        let last = |it| self.wholes(it).next().is_none();
        self.find(object, last).unwrap_or(object)
    }

    fn find(
        &self,
        object: ObjectAddress,
        wanted: impl Fn(ObjectAddress) -> bool,
    ) -> Option<ObjectAddress> {
        let mut seen = HashSet::new();
        let mut open = vec![object];
        while let Some(next) = open.pop() {
            if wanted(next) {
                return Some(next);
            }
            if seen.insert(next) {
                open.extend(self.wholes(next));
            }
        }
        None
    }
}

/// Pairs of what is dumped and what it needs that is not.
fn leaving(
    inside: &Inside,
    objects: &[ObjectAddress],
    all: &[Dependency],
) -> Vec<(ObjectAddress, ObjectAddress)> {
    let graph = Graph::new(inside, objects, all);
    let mut found = Vec::new();
    let mut known = HashSet::new();
    for dependency in all {
        let on = dependency.on;
        if on.object < FIRST_OF_USERS || graph.dumped(on).is_some() {
            continue;
        }
        let Some(from) = graph.dumped(dependency.object) else {
            continue;
        };
        // A restore makes the schemas that it needs, but not those of
        // extensions.
        if on.class == SCHEMA && from.class != EXTENSION {
            continue;
        }
        let pair = (from, graph.outermost(on));
        if pair.0 != pair.1 && known.insert(pair) {
            found.push(pair);
        }
    }
    found
}

impl Inside {
    /// Those of `descent` of which the parent is in a dump of these relations and
    /// the child is not.
    pub(super) fn children(&self, dumped: &HashSet<u32>) -> Vec<(String, String)> {
        let listed: HashMap<u32, &Listed> = self.relations.iter().map(|it| (it.oid, it)).collect();
        let name = |it: &Listed| sql::qualified(&it.schema, &it.name);
        self.descent
            .iter()
            .filter(|(parent, child)| dumped.contains(parent) && !dumped.contains(child))
            .filter_map(|(parent, child)| {
                let (parent, child) = (listed.get(parent)?, listed.get(child)?);
                Some((name(child), name(parent)))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(class: u32, object: u32) -> ObjectAddress {
        ObjectAddress { class, object }
    }

    fn depends(object: ObjectAddress, on: ObjectAddress, kind: u8) -> Dependency {
        Dependency { object, on, kind }
    }

    #[test]
    fn what_needs_what_is_left_out_is_found_by_what_is_dumped() {
        let inside = Inside::default();
        let (child, parent) = (at(1259, 20_000), at(1259, 20_001));
        let (key, index) = (at(2606, 20_002), at(1259, 20_003));
        let unique = at(2606, 20_004);
        let (default, sequence) = (at(2604, 20_005), at(1259, 20_006));
        let (array, kind, extension) = (at(1247, 20_007), at(1247, 20_008), at(3079, 20_009));
        let all = [
            // A foreign key: of its table, to another and the index there.
            depends(key, child, b'a'),
            depends(key, parent, b'n'),
            depends(key, index, b'n'),
            depends(index, unique, b'i'),
            depends(unique, parent, b'a'),
            // A default that draws from a sequence.
            depends(default, child, b'a'),
            depends(default, sequence, b'n'),
            // An array of a type of an extension.
            depends(child, array, b'n'),
            depends(array, kind, b'i'),
            depends(kind, extension, b'e'),
            // What nobody dumps needs nothing.
            depends(at(1259, 20_010), parent, b'n'),
            depends(child, at(2615, 20_011), b'n'),
        ];
        let mut found = leaving(&inside, &[child, key], &all);
        found.sort();
        assert_eq!(
            found,
            [(child, sequence), (child, extension), (key, parent)]
        );
        let whole = [child, key, parent, unique, sequence, extension];
        assert_eq!(leaving(&inside, &whole, &all), []);
    }

    #[test]
    fn an_extension_needs_its_schema() {
        let (extension, schema) = (at(3079, 20_000), at(2615, 20_001));
        let all = [depends(extension, schema, b'n')];
        assert_eq!(
            leaving(&Inside::default(), &[extension], &all),
            [(extension, schema)]
        );
    }
}
