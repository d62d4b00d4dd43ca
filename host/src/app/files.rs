//! Open files: how many there may be, and how many of them connections may take.

use rustix::process::{Resource, getrlimit, setrlimit};

/// The most files that are kept from connections: for the store, backends, local sockets and the admin listener.
const MOST_KEPT: u64 = 1024;

/// Raises this process's limit on open files as far as it may: every connection is a file, and the soft limit is often 1,024 where
/// the hard one is far above. Answers the limit that holds; `None` if there is none.
pub fn raise_limit() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let mut raised = before;
    raised.current = before.maximum;
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            tracing::info!(before = in_words(before.current), now = in_words(raised.current), "the limit on open files");
            raised.current
        }
        Err(error) => {
            tracing::warn!(%error, limit = in_words(before.current), "can't raise the limit on open files");
            before.current
        }
    }
}

/// How many connections there may be under a limit on open files, if `configured` ones are wanted.
pub fn for_connections(configured: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return configured };
    let kept = (limit / 4).min(MOST_KEPT);
    let most = usize::try_from(limit - kept).unwrap_or(usize::MAX).max(1);
    if configured > most {
        tracing::warn!(
            max_connections = configured,
            limit,
            "the limit on open files allows only {most} connections at once; raise it (`ulimit -Hn`, or `LimitNOFILE=` in a systemd \
             unit), or lower `server.max_connections`"
        );
    }
    configured.min(most)
}

fn in_words(limit: Option<u64>) -> String {
    limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        assert_eq!(for_connections(16_384, Some(20_000)), 16_384);
        assert_eq!(for_connections(16_384, Some(10_000)), 10_000 - 1024);
        assert_eq!(for_connections(16_384, Some(256)), 192);
        assert_eq!((for_connections(7, Some(0)), for_connections(16_384, None)), (1, 16_384));
    }
}
