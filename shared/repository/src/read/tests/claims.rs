//! Index files are claims: whatever stands in one, what is in the repository is
//! found, and who lied is told.

use super::*;

/// Bytes that stand in `index/` under the name that is their hash.
async fn add_index(place: &Place, bytes: Vec<u8>) -> ObjectName {
    let body = Body::new(bytes);
    let object = ObjectName::index(body.sha256);
    place.store.put(object, body).await.unwrap();
    object
}

/// As [`add_index`], sealed with the repository's key.
async fn add_sealed(place: &Place, plaintext: &[u8]) -> ObjectName {
    let sealed = place.repository.key().seal(plaintext).unwrap();
    add_index(place, sealed).await
}

fn at(id: BlobId, kind: BlobKind, offset: u32, length: u32) -> IndexBlob {
    IndexBlob {
        id,
        kind,
        offset,
        length,
        uncompressed_length: None,
    }
}

#[tokio::test]
async fn whatever_stands_in_index_the_rest_is_read_and_it_is_named() {
    type Damage = fn(&mut Vec<u8>);
    let id = ObjectId([7; 32]);
    let json = |blobs: Vec<IndexBlob>| {
        let packs = vec![IndexPack { id, blobs }];
        IndexFile { packs }.encode().unwrap()
    };
    let overlap = json(vec![
        at(id, BlobKind::Data, 0, 100),
        at(id, BlobKind::Data, 50, 100),
    ]);
    let absurd = json(vec![at(id, BlobKind::Data, 0, u32::MAX)]);
    let mut bomb = vec![2];
    let zeros = std::io::Read::take(std::io::repeat(b' '), 300 << 20);
    zstd::stream::copy_encode(zeros, &mut bomb, 1).unwrap();
    let sealed: [(&str, &[u8]); 7] = [
        ("empty", b""),
        ("no known form", b"\x07 something"),
        ("no JSON", b"{\"packs\": ["),
        ("another type", b"[1, 2]"),
        ("overlapping blobs", &overlap),
        ("absurd numbers", &absurd),
        ("a bomb", &bomb),
    ];
    for (what, plaintext) in sealed {
        let place = Place::new().await;
        place.add_pack(BlobKind::Data, &[b"first"]).await;
        let bad = add_sealed(&place, plaintext).await;
        assert_passed_over(&place, what, bad).await;
    }
    let noise: [(&str, Vec<u8>); 3] = [
        ("nothing", vec![]),
        ("too short", vec![1; 31]),
        ("noise", vec![5; 10_000]),
    ];
    for (what, bytes) in noise {
        let place = Place::new().await;
        place.add_pack(BlobKind::Data, &[b"first"]).await;
        let bad = add_index(&place, bytes).await;
        assert_passed_over(&place, what, bad).await;
    }
    let damages: [(&str, Damage); 2] = [
        ("flipped", |bytes| bytes[40] ^= 1),
        ("truncated", |bytes| bytes.truncate(50)),
    ];
    for (what, damage) in damages {
        let place = Place::new().await;
        place.add_pack(BlobKind::Data, &[b"first"]).await;
        let other = ObjectName::index(place.save_index(&IndexFile::default()).await);
        place.change(other, damage).await;
        assert_passed_over(&place, what, other).await;
    }
}

async fn assert_passed_over(place: &Place, what: &str, bad: ObjectName) {
    let (reader, told) = place.reader_and_trouble().await;
    let found = reader.blob(BlobKind::Data, &blob_id(b"first")).await;
    assert_eq!(found.unwrap(), b"first", "{what}");
    let told = told.text();
    assert!(told.contains(&bad.to_string()), "{what}: {told:?}");
    assert_eq!(told.lines().count(), 1, "{what}: {told}");
}

#[tokio::test]
async fn what_a_damaged_index_listed_is_found_in_the_headers_of_packs() {
    let place = Place::new().await;
    let tree = Tree::default().encode().unwrap();
    // More blobs than the first guess at a header's length has room for.
    let many: Vec<_> = (0..600_u32).map(u32::to_le_bytes).collect();
    let many: Vec<&[u8]> = many.iter().map(|it| &it[..]).collect();
    place.add_pack(BlobKind::Data, &many).await;
    place.add_pack(BlobKind::Tree, &[&tree]).await;
    let files = place.store.list(Directory::Index).await.unwrap();
    for file in &files {
        let object = ObjectName::index(file.id);
        place.change(object, |bytes| bytes[0] ^= 1).await;
    }
    let (reader, told) = place.reader_and_trouble().await;
    for blob in many {
        let found = reader.blob(BlobKind::Data, &blob_id(blob)).await;
        assert_eq!(found.unwrap(), blob);
    }
    reader.tree(&blob_id(&tree)).await.unwrap();
    for file in files {
        assert!(told.text().contains(&file.id.to_string()));
    }
}

#[tokio::test]
async fn what_is_in_no_index_and_no_header_is_an_error_that_names_the_damaged_index() {
    let place = Place::new().await;
    let pack = place.add_pack(BlobKind::Data, &[b"first"]).await;
    let index = place.store.list(Directory::Index).await.unwrap()[0].id;
    let flip = |bytes: &mut Vec<u8>| bytes[0] ^= 1;
    place.change(ObjectName::index(index), flip).await;
    place
        .change(ObjectName::data_pack(pack), |bytes| bytes.truncate(20))
        .await;
    let (reader, told) = place.reader_and_trouble().await;
    let error = reader.blob(BlobKind::Data, &blob_id(b"first")).await;
    let error = error.unwrap_err();
    assert!(matches!(error, ReadError::NotIndexed { .. }));
    let message = error.to_string();
    for part in [blob_id(b"first"), index] {
        assert!(message.contains(&part.to_string()), "{message}");
    }
    assert!(told.text().contains(&pack.to_string()), "{}", told.text());
}

/// What a lie says of a blob that truly lies at `truth` in `pack`; `thief` is a
/// pack of the liar's own, of one other blob.
type Lie = fn(pack: ObjectId, truth: IndexBlob, thief: IndexPack) -> IndexPack;

fn lies() -> [(&'static str, Lie); 9] {
    fn change(pack: ObjectId, truth: IndexBlob, change: impl Fn(&mut IndexBlob)) -> IndexPack {
        let mut lie = truth;
        change(&mut lie);
        IndexPack {
            id: pack,
            blobs: vec![lie],
        }
    }
    [
        ("in the thief's pack", |_, truth, thief| {
            change(thief.id, truth, |lie| {
                let blob = thief.blobs[0];
                *lie = IndexBlob { id: lie.id, ..blob };
            })
        }),
        ("in the thief's pack as another kind", |_, truth, thief| {
            change(thief.id, truth, |lie| {
                lie.kind = match lie.kind {
                    BlobKind::Data => BlobKind::Tree,
                    BlobKind::Tree => BlobKind::Data,
                }
            })
        }),
        ("in no pack", |_, truth, _| {
            change(ObjectId([3; 32]), truth, |_| ())
        }),
        ("shorter", |pack, truth, _| {
            change(pack, truth, |lie| lie.length -= 1)
        }),
        ("longer", |pack, truth, _| {
            change(pack, truth, |lie| lie.length += 10)
        }),
        ("beyond the end", |pack, truth, _| {
            change(pack, truth, |lie| lie.offset += 1_000_000)
        }),
        ("at the end of all numbers", |pack, truth, _| {
            change(pack, truth, |lie| lie.offset = u32::MAX - lie.length)
        }),
        ("of another length when unpacked", |pack, truth, _| {
            change(pack, truth, |lie| lie.uncompressed_length = Some(77))
        }),
        ("not compressed", |pack, truth, _| {
            change(pack, truth, |lie| lie.uncompressed_length = None)
        }),
    ]
}

#[tokio::test]
async fn a_lie_about_a_place_is_told_and_the_truth_is_found() {
    let tree = Tree::default().encode().unwrap();
    let data = vec![7; 5_000];
    for (what, lie) in lies() {
        for (kind, plaintext) in [(BlobKind::Data, &data), (BlobKind::Tree, &tree)] {
            let place = Place::new().await;
            let pack = place.add_pack(kind, &[b"before", plaintext]).await;
            let thief = place.add_pack(kind, &[b"something else"]).await;
            let reader = place.reader().await;
            let entry = |pack, plaintext: &[u8]| {
                let index = reader.index();
                let blob = index.require(kind, &blob_id(plaintext)).unwrap();
                let location = index.location(blob);
                assert_eq!(location.pack, pack);
                IndexBlob {
                    id: blob_id(plaintext),
                    kind,
                    offset: location.offset,
                    length: location.length,
                    uncompressed_length: location.uncompressed_length,
                }
            };
            let truth = entry(pack, plaintext);
            let thief = IndexPack {
                id: thief,
                blobs: vec![entry(thief, b"something else")],
            };
            let told = lie(pack, truth, thief);
            let lying = told.id != pack || told.blobs[0] != truth;
            let told = IndexFile { packs: vec![told] };
            let liar = place.save_index(&told).await;
            let files = place.store.list(Directory::Index).await.unwrap();

            // Whichever file is read first.
            for first in [liar, files.iter().find(|it| it.id != liar).unwrap().id] {
                let mut builder = IndexBuilder::default();
                let rest = files.iter().map(|it| it.id).filter(|id| *id != first);
                for id in [first].into_iter().chain(rest) {
                    let json = place.repository.load_unpacked(ObjectName::index(id));
                    let file = IndexFile::decode(&json.await.unwrap()).unwrap();
                    builder.add(&file).unwrap();
                }
                let index = builder.build().unwrap();
                let all = Told::default();
                let reader = Reader::with_index(place.repository.clone(), index, all.listen());
                let first = reader.index().require(kind, &blob_id(plaintext)).unwrap();
                let honest = reader.index().location(first) == truth.location(pack);
                let found = reader.blob(kind, &blob_id(plaintext)).await;
                assert!(&found.unwrap() == plaintext, "{what}, {kind:?}");
                let settled = reader.settle(first).await.unwrap();
                let length = reader.index().plaintext_length(settled) as usize;
                assert_eq!(length, plaintext.len(), "{what}, {kind:?}");
                if kind == BlobKind::Tree {
                    reader.tree(&blob_id(plaintext)).await.unwrap();
                }
                let all = all.text();
                assert_eq!(all.is_empty(), honest || !lying, "{what}, {kind:?}: {all}");
                if !all.is_empty() {
                    assert!(all.contains(&liar.to_string()), "{what}, {kind:?}: {all}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_lie_about_another_blob_of_the_pack_takes_nothing_from_this_one() {
    let place = Place::new().await;
    let tree = Tree::default().encode().unwrap();
    let pack = place.add_pack(BlobKind::Tree, &[&tree]).await;
    let far = at(blob_id(b"other"), BlobKind::Tree, 900_000, 1_000);
    let packs = vec![IndexPack {
        id: pack,
        blobs: vec![far],
    }];
    place.save_index(&IndexFile { packs }).await;
    let (reader, told) = place.reader_and_trouble().await;
    reader.tree(&blob_id(&tree)).await.unwrap();
    assert_eq!(told.text(), "");
}

#[tokio::test]
async fn without_a_good_place_the_error_names_one_and_all_are_told() {
    let place = Place::new().await;
    let one = place.add_pack(BlobKind::Data, &[b"first", b"one"]).await;
    let two = place.add_pack(BlobKind::Data, &[b"first", b"two"]).await;
    for pack in [one, two] {
        let name = ObjectName::data_pack(pack);
        place.change(name, |bytes| bytes[20] ^= 1).await;
    }
    let (reader, told) = place.reader_and_trouble().await;
    let error = reader.blob(BlobKind::Data, &blob_id(b"first")).await;
    assert!(error.unwrap_err().is_damage());
    for pack in [one, two] {
        assert!(told.text().contains(&pack.to_string()), "{}", told.text());
    }
}
