//! Independent pieces of work → their results in order. All cores share the work.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The results of `work` on each item, in order. Each core takes the next item that no other core has taken.
pub(super) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let n_threads = crate::host::threads(0).min(items.len());
    if n_threads < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let share = || {
        let taken = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        taken.map_while(|i| items.get(i).map(|item| (i, work(item)))).collect::<Vec<_>>()
    };
    let mut done: Vec<(usize, R)> = crate::host::thread::scope(|scope| {
        let threads: Vec<_> = (1..n_threads).map(|_| scope.spawn(share)).collect();
        let mut done = share();
        for thread in threads {
            match thread.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}
