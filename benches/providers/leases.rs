//! How soon a key that was taken away closes the keyring.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use sealed_store::{
    AuditEvent, AuditSink, KeyProvider, KeyringOptions, Lease, SqliteKeyring, Vault,
};
use serde_json::json;

use crate::opening::quantile;
use crate::ways::World;

const EVERY: Duration = Duration::from_millis(500);
const CALL: Duration = Duration::from_secs(1);
const POLICY: &str = "bench";

/// Tells when the keys were wiped.
struct Wiped(std::sync::Mutex<Sender<Instant>>);

impl AuditSink for Wiped {
    fn record(&self, event: &AuditEvent) {
        if let (AuditEvent::KeysWiped { .. }, Ok(tell)) = (event, self.0.lock()) {
            // Nobody waits any more at the end.
            let _ = tell.send(Instant::now());
        }
    }
}

pub async fn table(world: &World, trials: usize) {
    println!(
        "\nFrom the moment a key is taken away to the wiped keyring, {trials} trials, in milliseconds:\n"
    );
    println!("| provider | taken away by | lease | median | longest | stated at most |");
    println!("| --- | --- | --- | --- | --- | --- |");

    world.bao.derived_key("leased");
    let policy = |capability: &str| {
        let rule = format!("path \"transit/*\" {{ capabilities = [\"{capability}\"] }}");
        let url = format!(
            "http://{}/v1/sys/policies/acl/{POLICY}",
            world.bao.address()
        );
        ureq::put(&url)
            .header("X-Vault-Token", "root")
            .send(&json!({ "policy": rule }).to_string())
            .expect("the policy is written");
    };
    policy("update");
    let vault = Vault::from_uri(&world.bao.uri("leased")).expect("a URI");
    let vault = Arc::new(vault.token(world.bao.token(POLICY)));
    line("vault (OpenBao)", "its policy", vault, trials, &|taken| {
        policy(if taken { "deny" } else { "update" });
    })
    .await;

    let cloud = &world.localstack;
    let arn = cloud.key();
    let kms = Arc::new(cloud.provider(&arn));
    line(
        "aws-kms (LocalStack)",
        "`DisableKey`",
        kms,
        trials,
        &|taken| {
            let operation = if taken { "DisableKey" } else { "EnableKey" };
            cloud.kms(operation, json!({ "KeyId": arn }));
        },
    )
    .await;
}

/// One provider; `take` takes its key away, or gives it back.
async fn line(
    name: &str,
    how: &str,
    provider: Arc<dyn KeyProvider>,
    trials: usize,
    take: &dyn Fn(bool),
) {
    let folder = tempfile::tempdir().expect("a folder");
    let (tell, wiped) = channel();
    let lease = Lease::new(Arc::clone(&provider), EVERY).call(CALL);
    let keyring = KeyringOptions::new()
        .lease(lease)
        .audit(Arc::new(Wiped(std::sync::Mutex::new(tell))))
        .create(
            SqliteKeyring::at(folder.path().join("keyring.db")),
            &provider,
        )
        .await
        .expect("a keyring");
    let mut times = Vec::new();
    for _ in 0..trials {
        // At any moment between two checks.
        tokio::time::sleep(EVERY.mul_f64(rand::random())).await;
        let begun = Instant::now();
        take(true);
        let at = wiped
            .recv_timeout(Duration::from_secs(60))
            .expect("it closes");
        times.push(at - begun);
        take(false);
        keyring.unlock(&provider).await.expect("it opens");
    }
    println!(
        "| {name} | {how} | {} | {} | {} | {} |",
        EVERY.as_millis(),
        quantile(&mut times, 0.5).as_millis(),
        quantile(&mut times, 1.0).as_millis(),
        (EVERY + CALL).as_millis(),
    );
}
