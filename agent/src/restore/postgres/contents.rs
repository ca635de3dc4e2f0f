//! A dump's table of contents, and the beginning of the dump, where it stands
//! with everything but rows.

use std::{collections::HashMap, ffi::OsString, fs, path::PathBuf};

use strongroom_postgres::{
    logical::{
        archive::{self, EntryNames},
        phases::{self, Phases, Sections},
        toc::{self, Entry, Names},
    },
    name,
};

use super::{
    PostgresRestoreError,
    objects::Objects,
    program::{Input, PgRestore},
    scratch::{self, Scratch},
};
use crate::restore::stream::FileStream;

/// See the module.
#[derive(Debug)]
pub(super) struct Contents {
    /// For lists, and for a dump that several jobs read.
    pub(super) scratch: Scratch,
    /// A copy of the dump's beginning.
    pub(super) head: PathBuf,
    /// In the dump's order.
    pub(super) entries: Vec<Entry>,
    sections: Sections,
}

impl Contents {
    /// Reads as much of the dump as its table of contents takes. `texts`: of
    /// names in the dump's encoding.
    pub(super) fn read(
        program: &PgRestore<'_>,
        mut dump: FileStream,
        scratch: Scratch,
        texts: impl FnOnce(&[Vec<u8>]) -> Result<Vec<Option<String>>, PostgresRestoreError>,
    ) -> Result<Self, PostgresRestoreError> {
        let (head, mut file) = scratch.create_file("head")?;
        let arguments = ["--list".into(), "--verbose".into()];
        let input = Input {
            copy: Some((&mut file, &head)),
            ..Input::of(&mut dump)
        };
        let listing = program.run(&arguments, "", Some(input), toc::MAX_SIZE)?;
        let mut entries = toc::parse(&name::decode(&listing));
        let read = |source| scratch::failed("read", &head, source);
        let names = archive::names(&fs::read(&head).map_err(read)?);
        // Of a dump in another format the listing has to do.
        if let Ok(names) = names {
            name_entries(&mut entries, &names, texts)?;
        }
        let section = |name: &str| {
            let option = OsString::from(format!("--section={name}"));
            let arguments = ["--list".into(), option, head.clone().into()];
            let listing = program.run(&arguments, "", None, toc::MAX_SIZE)?;
            let entries = toc::parse(&String::from_utf8_lossy(&listing));
            Ok::<_, PostgresRestoreError>(entries.into_iter().map(|it| it.id).collect())
        };
        Ok(Self {
            sections: Sections {
                pre_data: section("pre-data")?,
                data: section("data")?,
                post_data: section("post-data")?,
            },
            entries,
            scratch,
            head,
        })
    }

    /// What of it is restored, in which order.
    pub(super) fn phases(&self, objects: &Objects) -> Phases {
        phases::phases(&self.entries, &self.sections, objects.chosen())
    }

    /// The beginning once more, for entries that are to be made with the
    /// session's search path.
    pub(super) fn head_with_own_path(&self) -> Result<PathBuf, PostgresRestoreError> {
        let read = |source| scratch::failed("read", &self.head, source);
        let mut head = fs::read(&self.head).map_err(read)?;
        phases::with_own_path(&mut head);
        self.scratch.replace("head-own-path", &head)
    }
}

/// Gives each entry its names, as far as they are texts.
fn name_entries(
    entries: &mut [Entry],
    names: &[EntryNames],
    texts: impl FnOnce(&[Vec<u8>]) -> Result<Vec<Option<String>>, PostgresRestoreError>,
) -> Result<(), PostgresRestoreError> {
    let of_schemas = names.iter().map(|it| it.schema.clone().unwrap_or_default());
    let all = of_schemas.chain(names.iter().map(|it| it.name.clone()));
    let mut texts = texts(&all.collect::<Vec<_>>())?;
    let behind = texts.split_off(names.len().min(texts.len()));
    let named = names.iter().zip(texts).zip(behind);
    let known: HashMap<u32, Names> = named
        .filter_map(|((entry, schema), name)| {
            let schema = match entry.schema {
                Some(_) => Some(schema?),
                None => None,
            };
            Some((
                entry.number,
                Names {
                    schema,
                    name: name?,
                },
            ))
        })
        .collect();
    for entry in entries {
        entry.names = known.get(&entry.id).cloned();
    }
    Ok(())
}
