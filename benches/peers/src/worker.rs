//! A contestant in a process of its own: it reads requests, and performs them one after the other.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};

use crate::contestant::{Contestant, Linked};
use crate::operations::{self, Scale, Stage};
use crate::protocol::{Answer, Request};

/// Threads of a worker's runtime.
pub const THREADS: usize = 2;

/// Serves `contestant`, whose files are in `folder`, until the input ends.
pub fn serve(contestant: Contestant, folder: PathBuf, scale: Scale) -> Result<()> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_time()
        .build()?;
    let stage = Arc::new(Stage::new(contestant, folder, scale));
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let request = serde_json::from_str(&line?).context("a request that is none")?;
        let answer = answer(&runtime, &stage, request)
            .unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    runtime.block_on(stage.close())
}

fn answer(runtime: &Runtime, stage: &Arc<Stage>, request: Request) -> Result<Answer> {
    match request {
        Request::Linked => Ok(Answer::Linked(Linked::find()?)),
        Request::Run {
            operation,
            round,
            rows,
        } => {
            let operation = operations::find(&operation)?;
            // In a task, as a client is: not on the thread that waits for the runtime.
            let work = runtime.spawn(operation.perform(Arc::clone(stage), round, rows));
            Ok(Answer::Measured(runtime.block_on(work)??))
        }
    }
}
