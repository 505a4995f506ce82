//! Progress and cancellation of long numeric work.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ModelError;

/// Receives a stage name and the fraction of it that is done, in [0, 1].
pub type OnProgress = Arc<dyn Fn(&str, f64) + Send + Sync>;

/// Handed to every loop that can take more than a moment: it reports, and it stops.
#[derive(Clone, Default)]
pub struct Control {
    cancelled: Arc<AtomicBool>,
    on_progress: Option<OnProgress>,
}

impl Control {
    /// A control that reports to `on_progress`.
    pub fn reporting(on_progress: OnProgress) -> Self {
        Self { cancelled: Arc::default(), on_progress: Some(on_progress) }
    }

    /// A control that reports to the same receiver, and is cancelled by itself.
    pub fn child(&self) -> Self {
        Self { cancelled: Arc::default(), on_progress: self.on_progress.clone() }
    }

    /// Asks the work to stop at its next check.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// `Err(ModelError::Cancelled)` once [`Control::cancel`] has been called.
    pub fn check(&self) -> Result<(), ModelError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(ModelError::Cancelled) } else { Ok(()) }
    }

    /// Reports that `fraction` of `stage` is done.
    pub fn report(&self, stage: &str, fraction: f64) {
        if let Some(f) = &self.on_progress {
            f(stage, fraction);
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Control(cancelled: {})", self.cancelled.load(Ordering::Relaxed))
    }
}
