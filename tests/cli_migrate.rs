//! From one key service to another by the program, as its administrator would: nothing but the new one opens, and what
//! can't be done is refused with the store as it was. OpenBao, and moto for AWS KMS.
#![cfg(all(feature = "aws-kms", feature = "vault"))]

mod cli;
#[path = "aws_kms/front.rs"]
mod front;
#[path = "common/openbao.rs"]
mod openbao;
#[path = "common/services.rs"]
mod services;
#[path = "aws_kms/world.rs"]
mod world;

use cli::{Desk, Ran, ran};
use openbao::OpenBao;
use world::{Cloud, alone};

/// A store whose slot 1 is a passphrase and whose slot 2 is OpenBao's.
struct Scene {
    desk: Desk,
    bao: OpenBao,
    vault: String,
}

impl Scene {
    fn new() -> Self {
        let (desk, bao) = (Desk::with_store(), OpenBao::start());
        bao.derived_key("k");
        let vault = bao.uri("k");
        let scene = Self { desk, bao, vault };
        let add = ["key", "add", "w.db", "--label", "cloud", "--new-provider"];
        scene
            .run(&[&add[..], &[&scene.vault, "--passphrase-file", "secret"]].concat())
            .ends(0);
        scene
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.desk.command(arguments);
        ran(command
            .env("VAULT_TOKEN", "root")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test"))
    }

    fn opens(&self, option: &str, with: &str) -> Ran {
        self.run(&["status", "w.db", option, with])
    }
}

fn aws(cloud: &Cloud) -> String {
    format!("awskms:{}?endpoint={}", cloud.key(), cloud.endpoint())
}

#[test]
fn one_command_moves_a_store_to_another_provider() {
    alone("one_command_moves_a_store_to_another_provider", || {
        let (scene, cloud) = (Scene::new(), Cloud::moto());
        let (vault, aws) = (scene.vault.as_str(), aws(&cloud));
        let migrate = ["key", "migrate", "w.db", "--new-provider", &aws];
        // Not named: slot 1. And nothing is moved while somebody works.
        let opening = ["--provider", vault];
        scene
            .run(&[&migrate[..], &opening].concat())
            .ends(2)
            .says("1 (first)");
        scene.opens("--provider", vault).ends(0);

        let kept = ["--keep", "1=passphrase-file:secret", "--json"];
        let done = scene
            .run(&[&migrate[..], &opening, &kept].concat())
            .ends(0)
            .summary();
        assert_eq!(
            (&done["replaced"], &done["kind"], &done["kept"]),
            (&2.into(), &"aws-kms".into(), &1.into())
        );
        scene.opens("--provider", vault).ends(12).says("cloud");
        scene.opens("--provider", &aws).ends(0);
        scene.opens("--passphrase-file", "secret").ends(0);

        // The service is gone; whoever has another slot moves on without it.
        let slot = done["slot"].to_string();
        drop(cloud);
        let from = ["--from", &slot, "--passphrase-file", "secret"];
        let back = ["key", "migrate", "w.db", "--new-provider", vault];
        scene.run(&[&back[..], &from].concat()).ends(0);
        scene.opens("--provider", vault).ends(0);
        scene.opens("--passphrase-file", "secret").ends(0);
        assert_eq!(scene.desk.slots("w.db").len(), 2);
        drop(scene.bao);
    });
}

#[test]
fn a_slot_is_rewrapped_unseen_under_the_newest_key_or_another() {
    alone(
        "a_slot_is_rewrapped_unseen_under_the_newest_key_or_another",
        || {
            let (scene, cloud) = (Scene::new(), Cloud::moto());
            let vault = scene.vault.as_str();
            let rewrap = |opening: [&str; 2], more: &[&str]| {
                scene.run(&[&["key", "rewrap", "w.db"], &opening[..], more].concat())
            };
            scene.bao.run(&["write", "-f", "transit/keys/k/rotate"]);
            rewrap(["--provider", vault], &[]).ends(0);
            scene
                .bao
                .run(&["write", "transit/keys/k/config", "min_decryption_version=2"]);
            scene.opens("--provider", vault).ends(0);
            assert_eq!(scene.desk.slots("w.db"), [1, 2]);

            // No service is behind a passphrase, and none takes another's.
            let before = scene.desk.document("w.db", "keyring");
            rewrap(["--passphrase-file", "secret"], &[]).ends(2);
            scene.bao.derived_key("other");
            let other = scene.bao.uri("other");
            rewrap(["--provider", vault], &["--to", &other])
                .ends(2)
                .says("same key");
            let (one, two) = (aws(&cloud), aws(&cloud));
            rewrap(["--provider", vault], &["--to", &one]).ends(2);
            assert_eq!(scene.desk.document("w.db", "keyring"), before);

            let opening = ["--provider", vault, "--keep", "1=passphrase-file:secret"];
            let migrate = ["key", "migrate", "w.db", "--new-provider", &one];
            scene.run(&[&migrate[..], &opening].concat()).ends(0);
            rewrap(["--provider", &one], &["--to", &two]).ends(0);
            scene.opens("--provider", &one).ends(12);
            scene.opens("--provider", &two).ends(0);
        },
    );
}

#[test]
fn a_probe_tells_rights_key_and_latency() {
    alone("a_probe_tells_rights_key_and_latency", || {
        let scene = Scene::new();
        let probe = |token: &str, more: &[&str]| {
            let arguments = [&["provider", "probe", &scene.vault, "--json"], more].concat();
            ran(scene.desk.command(&arguments).env("VAULT_TOKEN", token))
        };
        let told = probe("root", &["--try"]).ends(0).summary();
        for right in ["may_open", "may_make", "may_rewrap"] {
            assert_eq!(told[right], true, "{right}");
        }
        assert_eq!(
            (&told["key"], &told["key_version"]),
            (&"usable".into(), &1.into())
        );
        for time in ["probe_ms", "make_ms", "open_ms"] {
            assert!(told[time].as_f64().unwrap() > 0.0, "{time}");
        }
        // Who may open and no more: what the service does not tell is tried, or unknown.
        scene.bao.policy(
            "open",
            r#"path "transit/decrypt/k" { capabilities = ["update"] }"#,
        );
        let opener = scene.bao.token("open");
        let told = probe(&opener, &[]).ends(0).summary();
        assert_eq!(
            (&told["may_open"], &told["may_make"]),
            (&true.into(), &().into())
        );
        let lines = probe(&opener, &["--try"]).ends(1).lines();
        let told = lines.iter().find(|line| line["type"] == "summary").unwrap();
        assert_eq!(
            (&told["may_open"], &told["may_make"]),
            (&true.into(), &false.into())
        );
        let lines = probe("nobody", &[]).ends(1).lines();
        let told = lines.iter().find(|line| line["type"] == "summary").unwrap();
        // Refused, by the service or before it was asked: what else would be is not known.
        assert_eq!(
            (&told["may_open"], &told["reachable"]),
            (&().into(), &().into())
        );
    });
}
