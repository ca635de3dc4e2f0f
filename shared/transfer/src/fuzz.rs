//! Fuzz targets: pieces lie in a store, to which others can write.

use crate::{
    Opener, SecretKey,
    key::PublicKey,
    manifest::{Manifest, pieces_in},
    piece::OVERHEAD,
    seal::id_of,
};

/// What a manifest lists, as it lies under the seal: it is written as it was
/// read, and its sealed form tells how many pieces there are.
pub fn transfer_manifest(data: &[u8]) {
    if let Some(manifest) = Manifest::decode(data) {
        assert_eq!(manifest.encode(), data);
        let count = pieces_in(data.len() + OVERHEAD).unwrap();
        assert_eq!(count as usize, manifest.pieces.len());
    }
}

/// An object that is given out as a manifest for us, and then as each of the
/// pieces that it lists.
pub fn transfer_object(data: &[u8]) {
    let reader = SecretKey::from_hex(&"07".repeat(32)).unwrap();
    if let Ok(mut opener) = Opener::new(&reader, id_of(data), data.to_vec()) {
        let next = opener.left().next();
        if let Some(next) = next {
            opener.piece(next, data.to_vec()).unwrap_err();
        }
        let _ = opener.finish();
    }
}

/// A public key as texts have it.
pub fn public_key(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Some(secret) = SecretKey::from_hex(&text) {
        assert_eq!(*secret.to_hex(), *text);
    }
}

#[cfg(test)]
mod runs {
    use strongroom_layout::ObjectId;

    use super::*;
    use crate::Sealer;

    fn manifests() -> Vec<Vec<u8>> {
        let manifest = |pieces: Vec<ObjectId>| Manifest { bytes: 7, pieces }.encode();
        vec![
            manifest(Vec::new()),
            manifest(vec![ObjectId([1; 32]), ObjectId([2; 32])]),
        ]
    }

    fn objects() -> Vec<Vec<u8>> {
        let reader = SecretKey::from_hex(&"07".repeat(32)).unwrap();
        let mut sealer = Sealer::new(&reader.public()).unwrap();
        let piece = sealer.piece(b"a piece").unwrap().bytes;
        vec![piece, sealer.finish().unwrap().bytes]
    }

    strongroom_fuzz::short_runs! {
        transfer_manifest: manifests(),
        transfer_object: objects(),
        public_key: vec!["07".repeat(32).into_bytes()],
    }
}
