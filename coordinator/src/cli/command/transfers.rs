//! `strongroom snapshots download` and `upload`: data that nobody between this
//! command and the agent can read.

use std::{
    fs,
    io::{self, IsTerminal as _, Read as _, Write},
    path::{Path, PathBuf},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use strongroom_layout::ObjectId;
use strongroom_runtime::printable::{self, Line};
use strongroom_spec::{Entry, Outcome, UploadFormat};
use strongroom_transfer::{MAX_PLAIN, Opener, PublicKey, Sealed, Sealer, SecretKey};

use super::{Context, jobs};
use crate::{
    cli::{
        archive::Guard,
        args::{DownloadArgs, UploadArgs},
        client::Client,
        error::{CliError, Exit},
        render::{format, progress::ProgressView},
        store::StoreClient,
        watch,
    },
    http::dto::{
        DownloadRequest, EndedTransfer, FetchPieces, FinishUpload, Job, Listing, Piece, SendPieces,
        SignedRequests, Upload, UploadRequest,
    },
};

/// Pieces fetched at once; each has up to 8 MiB.
const AT_ONCE: usize = 3;
/// Pieces whose requests are asked for together.
const BATCH: usize = 16;

pub(super) async fn download(context: &Context, args: DownloadArgs) -> Result<Exit, CliError> {
    let to_stdout = args.output_file.as_deref() == Some(Path::new("-"));
    if to_stdout && !args.force && io::stdout().is_terminal() {
        return Err(CliError::Terminal);
    }
    let client = context.client()?;
    if !args.force {
        look_first(&client, &args).await?;
    }
    let store = StoreClient::new(&context.profile()?)?;
    let key = SecretKey::generate().map_err(|error| io::Error::other(error.to_string()))?;
    let request = DownloadRequest {
        snapshot: args.snapshot.clone(),
        path: args.path.clone(),
        agent: args.agent.clone(),
        public_key: key.public().to_string(),
    };
    let job: Job = client.post_keyed(&["downloads"], &request).await?;
    let id = job.id.clone();
    let place = place_of_root(&args, &job).filter(|it| !args.force && is_taken(it));
    if let Some(place) = place {
        let _: Result<EndedTransfer, _> = client.delete(&["downloads", &id]).await;
        return Err(CliError::Exists(place));
    }
    let fetched = tokio::select! {
        fetched = fetch(&client, &store, &key, job, &args) => fetched,
        interrupted = tokio::signal::ctrl_c() => Err(match interrupted {
            Ok(()) => io::Error::from(io::ErrorKind::Interrupted).into(),
            Err(error) => error.into(),
        }),
    };
    // Whatever came of it; what is not deleted now goes within a day.
    let ended: Result<EndedTransfer, _> = client.delete(&["downloads", &id]).await;
    if let Err(error) = ended {
        let cause = CliError::from(error).for_people();
        printable::err(&format!(
            "strongroom: the pieces could not be deleted yet: {cause}"
        ));
    }
    if let Some((path, bytes)) = fetched? {
        let path = Line(path.display());
        printable::err(&format!("{path} ({})", format::bytes(bytes)));
    }
    Ok(Exit::Done)
}

/// Refuses what would be refused behind the download, before an agent works for
/// it: a file that is there.
async fn look_first(client: &Client, args: &DownloadArgs) -> Result<(), CliError> {
    let refused = |place: &Path| Err(CliError::Exists(place.to_owned()));
    match &args.output_file {
        Some(place) if place.as_os_str() == "-" => return Ok(()),
        Some(place) if is_taken(place) => return refused(place),
        Some(_) => return Ok(()),
        None => {}
    }
    let Some(name) = name_of(&args.path) else {
        // The snapshot's id, which is known once the job is.
        return Ok(());
    };
    let (file, tar) = (PathBuf::from(&name), PathBuf::from(format!("{name}.tar")));
    match (is_taken(&file), is_taken(&tar)) {
        (false, false) => return Ok(()),
        (true, true) => return refused(&file),
        _ => {}
    }
    // Whether it is in the way depends on what PATH is.
    let path = ["snapshots", &args.snapshot, "entries"];
    let mut query = vec![
        ("path", args.path.clone()),
        ("recursive", "false".to_owned()),
        ("limit", "1".to_owned()),
    ];
    query.extend(args.agent.clone().map(|agent| ("agent", agent)));
    let listing: Listing = client.get(&path, &query).await?;
    let place = if is_file(&listing, &args.path) {
        file
    } else {
        tar
    };
    if is_taken(&place) {
        return refused(&place);
    }
    Ok(())
}

/// Whether a listing of `path` is that of a regular file: it lists itself.
fn is_file(listing: &Listing, path: &str) -> bool {
    let listed = |entry: &Entry| {
        let own = entry.path.text().trim_matches('/') == path.trim_matches('/');
        own && entry.kind == "file"
    };
    listing.entries.first().is_some_and(listed)
}

fn is_taken(place: &Path) -> bool {
    place.symlink_metadata().is_ok()
}

/// Where all of a snapshot goes unless a file is named.
fn place_of_root(args: &DownloadArgs, job: &Job) -> Option<PathBuf> {
    let is_root = args.output_file.is_none() && name_of(&args.path).is_none();
    is_root.then(|| own_name(&args.path, job, true).into())
}

/// Waits for the pieces and writes the file; gives its name and length, unless
/// it went to standard output.
async fn fetch(
    client: &Client,
    store: &StoreClient,
    key: &SecretKey,
    job: Job,
    args: &DownloadArgs,
) -> Result<Option<(PathBuf, u64)>, CliError> {
    // Progress is on standard error.
    let view = ProgressView::new(false);
    let job = watch::until_done(client, vec![job], &view).await?.remove(0);
    let Some(Outcome::Download(figures)) = &job.result else {
        let cause = job.failure.as_ref().map(|it| it.message.clone());
        return Err(CliError::Job {
            id: job.id.clone(),
            cause: cause.unwrap_or_else(|| job.state.to_string()),
        });
    };
    let manifest = figures.manifest;
    let bytes = pieces(client, store, &job.id, &[manifest]).await?.remove(0);
    let opener = Opener::new(key, manifest, bytes)?;
    match &args.output_file {
        Some(path) if path.as_os_str() == "-" => {
            let mut out = io::stdout();
            let archive = figures.archive;
            write(client, store, &job.id, opener, archive, &mut out).await?;
            out.flush()?;
            Ok(None)
        }
        path => {
            let path = path.clone();
            let path = path.unwrap_or_else(|| own_name(&args.path, &job, figures.archive).into());
            let mut partial = Partial::create(&path, args.force)?;
            let archive = figures.archive;
            write(client, store, &job.id, opener, archive, &mut partial.file).await?;
            partial.keep(args.force)?;
            Ok(Some((path, figures.bytes)))
        }
    }
}

/// A name in this directory, from what the operator asked for: the last name of
/// the path, or the snapshot's. What the agent calls the file is not asked; it
/// could be a name that some program here reads by itself.
fn own_name(asked: &str, job: &Job, archive: bool) -> String {
    let snapshot = || job.snapshot.as_deref().map_or("snapshot", format::short);
    let mut name = name_of(asked).unwrap_or_else(|| snapshot().to_owned());
    if archive {
        name.push_str(".tar");
    }
    name
}

/// The last name of a path, as a file may be called; `None` for the root.
fn name_of(asked: &str) -> Option<String> {
    let last = asked
        .split('/')
        .rfind(|name| !matches!(*name, "" | "." | ".."))?;
    let seen = |c: char| match c {
        c if printable::is_treacherous(c) || c == '\\' => '_',
        c => c,
    };
    let mut name: String = last.chars().map(seen).collect();
    // Not an option of whatever command reads it next.
    if name.starts_with('-') {
        name.insert(0, '_');
    }
    Some(name)
}

/// Writes what the pieces hold; a tar is looked at on its way.
async fn write(
    client: &Client,
    store: &StoreClient,
    id: &str,
    opener: Opener,
    archive: bool,
    out: &mut impl Write,
) -> Result<(), CliError> {
    if !archive {
        return write_all(client, store, id, opener, out).await;
    }
    let mut guard = Guard::new(out);
    write_all(client, store, id, opener, &mut guard).await?;
    Ok(guard.finish()?)
}

async fn write_all(
    client: &Client,
    store: &StoreClient,
    id: &str,
    mut opener: Opener,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let all: Vec<_> = opener.left().collect();
    for batch in all.chunks(BATCH) {
        let requests = ask(client, id, batch).await?.requests;
        let mut arriving = stream::iter(requests.iter().zip(batch))
            .map(async |(request, piece)| {
                let bytes = store.send(request, bytes::Bytes::new()).await?;
                Ok::<_, CliError>((*piece, bytes))
            })
            .buffered(AT_ONCE);
        while let Some((piece, bytes)) = arriving.try_next().await? {
            out.write_all(&opener.piece(piece, bytes)?)?;
        }
    }
    Ok(opener.finish()?)
}

async fn pieces(
    client: &Client,
    store: &StoreClient,
    id: &str,
    wanted: &[ObjectId],
) -> Result<Vec<Vec<u8>>, CliError> {
    let mut all = Vec::new();
    for request in ask(client, id, wanted).await?.requests {
        all.push(store.send(&request, bytes::Bytes::new()).await?);
    }
    if all.len() != wanted.len() {
        return Err(io::Error::other("the coordinator signed something else").into());
    }
    Ok(all)
}

async fn ask(client: &Client, id: &str, pieces: &[ObjectId]) -> Result<SignedRequests, CliError> {
    let request = FetchPieces {
        pieces: pieces.iter().map(ToString::to_string).collect(),
    };
    Ok(client.post(&["downloads", id, "pieces"], &request).await?)
}

/// A file beside its place, until all of it is there. Dropped, it goes.
struct Partial {
    place: PathBuf,
    path: PathBuf,
    file: fs::File,
    kept: bool,
}

impl Partial {
    fn create(place: &Path, force: bool) -> Result<Self, CliError> {
        if !force && place.symlink_metadata().is_ok() {
            return Err(CliError::Exists(place.to_owned()));
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(place.file_name().unwrap_or_default());
        name.push(format!(".{}.part", std::process::id()));
        let path = place.with_file_name(name);
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| CliError::Create {
                path: path.clone(),
                source,
            })?;
        Ok(Self {
            place: place.to_owned(),
            path,
            file,
            kept: false,
        })
    }

    fn keep(&mut self, force: bool) -> Result<(), CliError> {
        self.file.sync_all()?;
        if force {
            fs::rename(&self.path, &self.place)?;
        } else {
            // Unlike a rename it replaces nothing that came meanwhile.
            match fs::hard_link(&self.path, &self.place) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(CliError::Exists(self.place.clone()));
                }
                linked => linked?,
            }
            fs::remove_file(&self.path)?;
        }
        self.kept = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

pub(super) async fn upload(context: &Context, args: UploadArgs) -> Result<Exit, CliError> {
    let client = context.client()?;
    let store = StoreClient::new(&context.profile()?)?;
    let read = |source| CliError::Read {
        path: args.file.clone(),
        source,
    };
    let mut file = fs::File::open(&args.file).map_err(read)?;
    let mut head = Vec::new();
    (&mut file).take(8).read_to_end(&mut head).map_err(read)?;
    let name = args.file.file_name().unwrap_or_default().to_string_lossy();
    let format = args.format.unwrap_or_else(|| guess(&head, &name));
    let request = UploadRequest {
        agent: args.agent.clone(),
        store: args.store.clone(),
        name: args.name.clone(),
        file_name: name.into_owned(),
        format,
        database: args.database.clone(),
    };
    let begun: Upload = client.post_keyed(&["uploads"], &request).await?;
    let input = io::Cursor::new(head).chain(file);
    let sent = tokio::select! {
        sent = send(&client, &store, &begun, input, &args.file) => sent,
        interrupted = tokio::signal::ctrl_c() => Err(match interrupted {
            Ok(()) => io::Error::from(io::ErrorKind::Interrupted).into(),
            Err(error) => error.into(),
        }),
    };
    let job = match sent {
        Ok(job) => job,
        Err(error) => {
            // What is not deleted now goes within a day.
            let _: Result<EndedTransfer, _> = client.delete(&["uploads", &begun.id]).await;
            return Err(error);
        }
    };
    jobs::wait(context, &client, vec![job]).await
}

/// What a file is, by its first bytes and its name.
fn guess(head: &[u8], name: &str) -> UploadFormat {
    let name = name.to_ascii_lowercase();
    if head.starts_with(b"PGDMP") {
        UploadFormat::Custom
    } else if head.starts_with(b"\x1f\x8b") && name.ends_with(".sql.gz") {
        UploadFormat::SqlGzip
    } else if Path::new(&name).extension().is_some_and(|it| it == "sql") {
        UploadFormat::Sql
    } else {
        UploadFormat::File
    }
}

async fn send(
    client: &Client,
    store: &StoreClient,
    begun: &Upload,
    mut input: impl io::Read,
    path: &Path,
) -> Result<Job, CliError> {
    let reader: PublicKey = begun.public_key.parse().map_err(io::Error::other)?;
    let mut sealer = Sealer::new(&reader)?;
    let mut plain = Vec::new();
    loop {
        plain.clear();
        (&mut input)
            .take(MAX_PLAIN as u64)
            .read_to_end(&mut plain)
            .map_err(|source| CliError::Read {
                path: path.to_owned(),
                source,
            })?;
        if plain.is_empty() {
            break;
        }
        put(client, store, begun, sealer.piece(&plain)?).await?;
    }
    let manifest = sealer.finish()?;
    let id = manifest.id.to_string();
    put(client, store, begun, manifest).await?;
    let request = FinishUpload { manifest: id };
    Ok(client
        .post_keyed(&["uploads", &begun.id, "snapshot"], &request)
        .await?)
}

async fn put(
    client: &Client,
    store: &StoreClient,
    begun: &Upload,
    sealed: Sealed,
) -> Result<(), CliError> {
    let request = SendPieces {
        pieces: vec![Piece {
            sha256: sealed.id.to_string(),
            bytes: sealed.bytes.len() as u64,
        }],
    };
    let signed: SignedRequests = client
        .post(&["uploads", &begun.id, "pieces"], &request)
        .await?;
    let body = bytes::Bytes::from(sealed.bytes);
    for request in &signed.requests {
        store.send(request, body.clone()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_called_what_the_operator_asked_for() {
        let mut job = super::super::tests::backup_job();
        job["result"] = serde_json::Value::Null;
        let job: Job = serde_json::from_value(job).unwrap();
        for (asked, archive, name) in [
            ("/srv/a.sql", false, "a.sql"),
            ("/srv/site/", true, "site.tar"),
            ("/", true, "abababab.tar"),
            ("/srv/..", true, "srv.tar"),
            ("/srv/--checkpoint=1", false, "_--checkpoint=1"),
            ("/srv/a\u{1b}[2J\u{202e}b", false, "a_[2J_b"),
        ] {
            assert_eq!(own_name(asked, &job, archive), name, "{asked:?}");
        }
    }

    #[test]
    fn a_file_is_told_from_a_directory_by_its_listing() {
        let listing = |kind: &str, path: &str| {
            let entry = serde_json::json!({
                "path": { "text": path }, "type": kind, "mode": 0, "uid": 0, "gid": 0,
                "size": 1, "modified": "", "link_target": null,
            });
            serde_json::from_value(serde_json::json!({ "entries": [entry], "truncated": false }))
                .unwrap()
        };
        assert!(is_file(&listing("file", "/srv/site"), "/srv/site"));
        assert!(!is_file(&listing("file", "/srv/site/a"), "/srv/site"));
        assert!(!is_file(&listing("symlink", "/srv/site"), "/srv/site"));
        let empty = Listing {
            next_after: None,
            entries: vec![],
            truncated: false,
        };
        assert!(!is_file(&empty, "/srv/site"));
    }

    #[test]
    fn files_are_known_by_their_first_bytes() {
        for (head, name, format) in [
            (&b"PGDMP\x01"[..], "orders.sql", UploadFormat::Custom),
            (b"\x1f\x8b\x08", "orders.SQL.gz", UploadFormat::SqlGzip),
            (b"\x1f\x8b\x08", "logs.tar.gz", UploadFormat::File),
            (b"--", "orders.sql", UploadFormat::Sql),
            (b"", "notes.txt", UploadFormat::File),
        ] {
            assert_eq!(guess(head, name), format, "{name}");
        }
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("f");
        let mut given_up = Partial::create(&place, false).unwrap();
        given_up.file.write_all(b"half").unwrap();
        drop(given_up);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let mut kept = Partial::create(&place, false).unwrap();
        kept.file.write_all(b"all").unwrap();
        kept.keep(false).unwrap();
        drop(kept);
        assert_eq!(fs::read(&place).unwrap(), b"all");
        assert!(matches!(
            Partial::create(&place, false),
            Err(CliError::Exists(_))
        ));
        let mut other = Partial::create(&place, true).unwrap();
        other.keep(true).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
