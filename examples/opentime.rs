use sealed_store::*;
use secrecy::SecretBox;
use std::sync::Arc;
use std::time::Instant;
use wacore::store::traits::*;
fn main() {
    let rt = tokio::runtime::Runtime::new().unwrap();
    let d = tempfile::tempdir().unwrap();
    let p = d.path().join("c.db");
    let key = RawKey::new(SecretBox::new(Box::new([9; 32])));
    rt.block_on(async {
        let s = open(&p, &key).await.unwrap();
        s.create().await.unwrap();
        s.put_session("a@b", b"x").await.unwrap();
    });
    let n = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(200);
    let mut t = [0.0; 5];
    for _ in 0..n {
        rt.block_on(async {
            let a = Instant::now();
            let store = sealed_store::store::sqlite::SqliteStore::open(&p)
                .await
                .unwrap();
            let b = Instant::now();
            let k = Keyring::open_or_create(SqliteKeyring::at(&p), &key)
                .await
                .unwrap();
            let c = Instant::now();
            let acc = k.account_or_create("1").await.unwrap();
            let dd = Instant::now();
            let s = SealedBackend::open(Arc::new(store), acc).await.unwrap();
            let e = Instant::now();
            s.get_session("a@b").await.unwrap();
            let f = Instant::now();
            for (i, (x, y)) in [(a, b), (b, c), (c, dd), (dd, e), (e, f)]
                .into_iter()
                .enumerate()
            {
                t[i] += (y - x).as_secs_f64() * 1e6 / n as f64;
            }
            drop(s);
            drop(k);
        });
    }
    println!(
        "store {:.0} keyring {:.0} account {:.0} backend {:.0} first get {:.0} us",
        t[0], t[1], t[2], t[3], t[4]
    );
}
