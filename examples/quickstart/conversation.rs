//! Two WhatsApp accounts that talk to each other: the real Signal parts of the client, no network.
//!
//! Everything goes through the storage that a [`Party`] is opened on, in the calls and in the order
//! in which `whatsapp-rust` makes them. Nothing here knows which storage that is. Each step checks
//! itself: every decrypted message equals what was sent, every stored row what was written.

#![allow(dead_code)] // each example, test and bench that includes this file uses its own part

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use wacore::libsignal::protocol::{
    CiphertextMessage, SenderKeyStore, UsePQRatchet, group_decrypt, group_encrypt,
    process_prekey_bundle,
};
use wacore::messages::{MessageUtils, decode_plaintext};
use whatsapp_rust::{Jid, waproto::whatsapp as wa};

#[path = "bookkeeping.rs"]
mod bookkeeping;
#[path = "party.rs"]
mod party;
#[path = "secrets.rs"]
mod secrets;

#[allow(unused_imports)]
pub use bookkeeping::{bookkeeping, verify_bookkeeping};
pub use party::Party;
pub use secrets::Secrets;

/// The group in which the parties of [`group`] meet.
pub const GROUP: &str = "120363021033254949@g.us";
/// How many one-time prekeys a client makes when it pairs.
pub const PREKEYS: u32 = 812;
/// The fixed time of everything that has a time, in seconds.
const NOW: i64 = 1_788_000_000;
/// Which padding a message has.
const PADDING: u8 = 2;

/// A message and the id under which it is sent.
struct Letter {
    id: String,
    message: wa::Message,
}

fn rng() -> StdRng {
    rand::make_rng()
}

/// Bob publishes his keys, Alice writes to him for the first time, he answers: X3DH.
pub async fn introduce(alice: &Party, bob: &Party, secrets: &mut Secrets) -> Result<()> {
    for party in [alice, bob] {
        if !party.manager.get_device_snapshot().server_has_prekeys {
            party.make_prekeys(secrets).await?;
        }
    }
    let (prekey, bundle) = bob.bundle().await?;
    // Bob's client takes a new signed prekey while Alice's message is on its way.
    bob.rotate_signed_prekey(secrets).await?;
    let mut signal = alice.signal.clone();
    let (sessions, identities) = (&mut signal.session_store, &mut signal.identity_store);
    let (to, pq) = (bob.address(), UsePQRatchet::No);
    process_prekey_bundle(&to, sessions, identities, &bundle, &mut rng(), pq).await?;

    let hello = alice.compose(&bob.lid, &alice.lid, secrets).await?;
    let first = alice.encrypt(bob, &hello.message).await?;
    ensure!(matches!(first, CiphertextMessage::PreKeySignalMessage(_)));
    ensure!(bob.decrypt(alice, &first).await? == hello.message);
    ensure!(
        bob.backend.load_prekey(prekey).await?.is_some(),
        "gone before the session is kept"
    );
    bob.flush().await?;
    ensure!(
        bob.backend.load_prekey(prekey).await?.is_none(),
        "a prekey is for one use"
    );

    let answer = bob.compose(&alice.lid, &bob.lid, secrets).await?;
    let first = bob.encrypt(alice, &answer.message).await?;
    ensure!(alice.decrypt(bob, &first).await? == answer.message);
    alice.settle(bob, secrets).await?;
    bob.settle(alice, secrets).await
}

/// Messages in turns, some reordered and some a whole turn late; returns how many arrived.
///
/// Needs [`introduce`] once in the lifetime of the two stores: every message continues a session.
pub async fn exchange(
    alice: &Party,
    bob: &Party,
    rounds: usize,
    secrets: &mut Secrets,
) -> Result<usize> {
    alice.knows(bob).await?;
    bob.knows(alice).await?;
    let mut arrived = 0;
    let mut late: [Vec<(Letter, CiphertextMessage)>; 2] = Default::default();
    for round in 0..rounds + 2 {
        let (from, to) = if round % 2 == 0 {
            (alice, bob)
        } else {
            (bob, alice)
        };
        let mut post = Vec::new();
        // The last two rounds only deliver what is late.
        let new = if round < rounds { 1 + round * 7 % 5 } else { 0 };
        for _ in 0..new {
            let letter = from.compose(&to.lid, &from.lid, secrets).await?;
            let ciphertext = from.encrypt(to, &letter.message).await?;
            let continues = matches!(ciphertext, CiphertextMessage::SignalMessage(_));
            ensure!(continues, "the session with {} was lost", to.label);
            post.push((letter, ciphertext));
        }
        if let Some((letter, _)) = post.first() {
            from.resend(&to.lid, letter).await?;
        }
        let held = post.split_off(post.len() - usize::from(post.len() > 2));
        if round % 3 == 1 {
            post.reverse();
        }
        post.extend(std::mem::replace(&mut late[round % 2], held));
        for (letter, ciphertext) in &post {
            let message = to.decrypt(from, ciphertext).await?;
            ensure!(message == letter.message, "{} arrived changed", letter.id);
            to.remember_secret(&from.lid, &from.lid, &letter.id, &message)
                .await?;
        }
        arrived += post.len();
        from.settle(to, secrets).await?;
        to.settle(from, secrets).await?;
    }
    ensure!(late.iter().all(Vec::is_empty));
    Ok(arrived)
}

/// Both share their sender keys where needed and write to the group in turns, about `n` messages
/// in all; returns how many arrived. Needs [`introduce`].
pub async fn group(alice: &Party, bob: &Party, n: usize, secrets: &mut Secrets) -> Result<usize> {
    let chat: Jid = GROUP.parse()?;
    let mut arrived = 0;
    while arrived < n {
        for (from, to) in [(alice, bob), (bob, alice)] {
            from.share_sender_key(to).await?;
            let name = from.sender_key_name()?;
            let mut post = Vec::new();
            for _ in 0..1 + arrived % 3 {
                let letter = from.compose(&chat, &from.jid, secrets).await?;
                let plaintext = MessageUtils::encode_and_pad(&letter.message);
                let keys = &mut from.signal.clone().sender_key_store;
                let lock = keys.sender_key_lock(&name).await;
                let _guard = lock.lock().await;
                post.push((
                    letter,
                    group_encrypt(keys, &name, &plaintext, &mut rng()).await?,
                ));
            }
            from.flush().await?;
            post.reverse();
            for (letter, ciphertext) in &post {
                let keys = &mut to.signal.clone().sender_key_store;
                let lock = keys.sender_key_lock(&name).await;
                let _guard = lock.lock().await;
                let plaintext = group_decrypt(ciphertext.serialized(), keys, &name).await?;
                let message = decode_plaintext(&plaintext, PADDING)?;
                ensure!(message == letter.message, "{} arrived changed", letter.id);
                to.remember_secret(&chat, &from.jid, &letter.id, &message)
                    .await?;
            }
            arrived += post.len();
            from.settle(to, secrets).await?;
            to.settle(from, secrets).await?;
        }
    }
    Ok(arrived)
}
