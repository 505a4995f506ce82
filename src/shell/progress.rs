//! Progress of long work, on stderr: a bar on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::tell;
use crate::OnProgress;

/// Stages shorter than this are not told where there is no bar.
const WORTH_A_LINE: Duration = Duration::from_millis(300);

#[derive(Default)]
struct Stages {
    bar: Option<ProgressBar>,
    started: HashMap<String, Instant>,
}

/// What stages there are and how far they have come; clones share it.
#[derive(Clone, Default)]
pub struct Progress(Arc<Mutex<Stages>>);

impl Progress {
    /// What to tell the session to report to.
    pub fn reporter(&self) -> OnProgress {
        let terminal = std::io::stderr().is_terminal();
        let stages = Arc::clone(&self.0);
        Arc::new(move |stage: &str, fraction: f64| {
            let mut s = stages.lock().unwrap_or_else(PoisonError::into_inner);
            let started = *s.started.entry(stage.to_owned()).or_insert_with(Instant::now);
            let done = fraction >= 1.0;
            if terminal {
                show(&mut s, stage, fraction, done);
            } else if done && started.elapsed() >= WORTH_A_LINE {
                tell(&format!("{stage}: {:.1} s", started.elapsed().as_secs_f64()));
            }
            if done {
                s.started.remove(stage);
            }
        })
    }

    /// Forgets what has not come to its end: the statement has.
    pub fn clear(&self) {
        let mut s = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        s.started.clear();
        if let Some(bar) = s.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn show(s: &mut Stages, stage: &str, fraction: f64, done: bool) {
    if done {
        if let Some(bar) = s.bar.take() {
            bar.finish_and_clear();
        }
        return;
    }
    let bar = s.bar.get_or_insert_with(|| {
        let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent}% {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    });
    bar.set_message(stage.to_owned());
    bar.set_position((fraction.clamp(0.0, 1.0) * 1000.0) as u64);
}
