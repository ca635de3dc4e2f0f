use proptest::prelude::*;

use crate::{
    MAX_OBJECT, MAX_PIECES, MAX_PLAIN, OpenError, Opener, PublicKey, SealError, Sealed, Sealer,
    SecretKey, seal::id_of,
};

fn seal(reader: &SecretKey, pieces: &[Vec<u8>]) -> (Vec<Sealed>, Sealed) {
    let mut sealer = Sealer::new(&reader.public()).unwrap();
    let sealed = pieces.iter().map(|it| sealer.piece(it).unwrap()).collect();
    (sealed, sealer.finish().unwrap())
}

fn opener(reader: &SecretKey, manifest: &Sealed) -> Result<Opener, OpenError> {
    Opener::new(reader, manifest.id, manifest.bytes.clone())
}

fn open(
    reader: &SecretKey,
    pieces: &[Sealed],
    manifest: &Sealed,
) -> Result<Vec<Vec<u8>>, OpenError> {
    let mut opener = opener(reader, manifest)?;
    let mut plain = Vec::new();
    for piece in pieces {
        plain.push(opener.piece(piece.id, piece.bytes.clone())?);
    }
    opener.finish()?;
    Ok(plain)
}

fn key() -> SecretKey {
    SecretKey::generate().unwrap()
}

fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6)
}

proptest! {
    #[test]
    fn what_was_sealed_is_opened(pieces in pieces()) {
        let reader = key();
        let (sealed, manifest) = seal(&reader, &pieces);
        prop_assert_eq!(
            opener(&reader, &manifest).unwrap().bytes(),
            pieces.iter().map(|it| it.len() as u64).sum::<u64>()
        );
        prop_assert_eq!(open(&reader, &sealed, &manifest).unwrap(), pieces);
    }

    /// Even when the name fits the changed bytes: the seal finds it.
    #[test]
    fn any_changed_bit_is_found(
        pieces in pieces(), which: prop::sample::Index, place: prop::sample::Index, bit in 0..8_u8
    ) {
        let reader = key();
        let (mut sealed, mut manifest) = seal(&reader, &pieces);
        let which = which.index(sealed.len() + 1);
        let victim = sealed.get_mut(which).unwrap_or(&mut manifest);
        let place = place.index(victim.bytes.len());
        victim.bytes[place] ^= 1 << bit;
        prop_assert!(matches!(open(&reader, &sealed, &manifest), Err(OpenError::Damaged(_))));
        let victim = sealed.get_mut(which).unwrap_or(&mut manifest);
        victim.id = id_of(&victim.bytes);
        prop_assert!(open(&reader, &sealed, &manifest).is_err());
    }

    #[test]
    fn nothing_opens_with_another_key(pieces in pieces()) {
        let (_, manifest) = seal(&key(), &pieces);
        prop_assert_eq!(
            opener(&key(), &manifest).unwrap_err(), OpenError::Foreign(manifest.id)
        );
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), magic: bool
    ) {
        let mut bytes = bytes;
        if magic {
            bytes.splice(..0, *b"SRT1");
        }
        let id = id_of(&bytes);
        prop_assert_eq!(Opener::new(&key(), id, bytes).unwrap_err(), OpenError::Foreign(id));
    }
}

#[test]
fn missing_and_reordered_pieces_are_found() {
    let reader = key();
    let (mut sealed, manifest) = seal(&reader, &[vec![1; 9], vec![2; 9], vec![3; 9]]);
    let short = open(&reader, &sealed[..2], &manifest).unwrap_err();
    assert_eq!(short, OpenError::Order(sealed[2].id));
    sealed.swap(0, 1);
    let swapped = open(&reader, &sealed, &manifest).unwrap_err();
    assert_eq!(swapped, OpenError::Order(sealed[0].id));
}

#[test]
fn a_piece_opens_in_no_other_place_and_no_other_transfer() {
    let reader = key();
    let (first, _) = seal(&reader, &[vec![1; 9], vec![1; 9]]);
    let (second, manifest) = seal(&reader, &[vec![1; 9], vec![1; 9]]);
    // As if the manifest named it there, so that only the seal can tell.
    for (place, wrong) in [(0, &second[1]), (1, &second[0]), (0, &first[0])] {
        let forged = opener(&reader, &manifest).unwrap().forged(place, wrong.id);
        assert_eq!(
            { forged }.piece(wrong.id, wrong.bytes.clone()).unwrap_err(),
            OpenError::Foreign(wrong.id)
        );
    }
    let mut right = opener(&reader, &manifest).unwrap().forged(1, second[1].id);
    right.piece(second[1].id, second[1].bytes.clone()).unwrap();
}

#[test]
fn a_key_of_low_order_is_refused() {
    let error = Sealer::new(&PublicKey([0; 32])).unwrap_err();
    assert!(matches!(error, SealError::PublicKey));
}

#[test]
fn objects_and_their_number_are_bounded() {
    let reader = key();
    let mut sealer = Sealer::new(&reader.public()).unwrap();
    let largest = sealer.piece(&vec![0; MAX_PLAIN]).unwrap();
    assert_eq!(largest.bytes.len(), MAX_OBJECT);
    let error = sealer.piece(&vec![0; MAX_PLAIN + 1]).unwrap_err();
    assert!(matches!(error, SealError::PieceTooLarge(_)));
    // As many as one manifest holds.
    assert!(8 + 32 * MAX_PIECES as usize <= MAX_PLAIN);
    assert!(8 + 32 * (MAX_PIECES as usize + 1) > MAX_PLAIN);
}

#[test]
fn keys_survive_their_texts_and_secrets_are_not_shown() {
    let secret = key();
    let again = SecretKey::from_hex(&secret.to_hex()).unwrap();
    assert_eq!(again.public(), secret.public());
    assert!(SecretKey::from_hex("00").is_none());
    let public = secret.public();
    assert_eq!(public.to_string().parse(), Ok(public));
    assert!("xyz".parse::<PublicKey>().is_err());
    let json = serde_json::to_string(&public).unwrap();
    assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), public);
    assert!(!format!("{secret:?}").contains(secret.to_hex().as_str()));
}
