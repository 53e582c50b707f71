//! The contract of every store.

mod jobs;
mod teams;
mod watching;

use async_trait::async_trait;
use gcloud_emulator::Emulator;
use mediaforge::{
    embedded::Embedded,
    store::{self, Stores},
};
use tempfile::TempDir;

/// A backend supplies only the ways to open it.
#[async_trait]
trait Backend: Sized + Send + Sync {
    /// A fresh, empty store.
    async fn open() -> Self;
    /// The store.
    fn store(&self) -> Stores;
    /// The same data through another handle, like a second process.
    fn second(&self) -> Stores;
    /// The same data after all handles have been closed.
    async fn reopen(self) -> Self;
}

struct Sqlite {
    directory: TempDir,
    store: Stores,
}

impl Sqlite {
    fn at(directory: &TempDir) -> Stores {
        let embedded = Embedded::open(directory.path(), &[]).expect("a database");
        store::open_sqlite(&embedded)
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn open() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Self::at(&directory);
        Self { directory, store }
    }

    fn store(&self) -> Stores {
        self.store.clone()
    }

    fn second(&self) -> Stores {
        Self::at(&self.directory)
    }

    async fn reopen(self) -> Self {
        let Self { directory, store } = self;
        drop(store);
        let store = Self::at(&directory);
        Self { directory, store }
    }
}

struct Firestore {
    emulator: Emulator,
    store: Stores,
}

#[async_trait]
impl Backend for Firestore {
    async fn open() -> Self {
        let emulator = crate::firestore::emulator().await;
        let store = crate::firestore::open(&emulator);
        Self { emulator, store }
    }

    fn store(&self) -> Stores {
        self.store.clone()
    }

    fn second(&self) -> Stores {
        crate::firestore::open(&self.emulator)
    }

    async fn reopen(self) -> Self {
        let Self { emulator, store } = self;
        drop(store);
        let store = crate::firestore::open(&emulator);
        Self { emulator, store }
    }
}

/// Runs each case on each backend.
macro_rules! cases {
    ($($module:ident: $($case:ident),+ $(,)?;)+) => {
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$module::$case::<super::Sqlite>().await;
                }
            )+)+
        }

        mod firestore {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$module::$case::<super::Firestore>().await;
                }
            )+)+
        }
    };
}

cases! {
    jobs:
        a_new_job_is_stored_and_its_credits_are_held,
        inserting_twice_finds_the_first,
        an_account_that_cannot_pay_is_refused_without_a_write,
        fifty_submits_with_credit_for_one_make_one_job,
        fifty_submits_of_a_user_who_may_have_three_jobs_make_three,
        a_user_may_have_more_jobs_when_one_ends,
        a_stale_commit_is_a_conflict,
        a_missing_job_is_none_and_cannot_be_committed,
        concurrent_compare_and_set_loses_no_increment,
        everything_survives_a_reopen,
        a_ledger_entry_counts_once,
        a_jobs_ledger_entry_counts_once,
        the_balance_is_the_sum_of_the_ledger,
        a_redrive_that_cannot_be_paid_changes_nothing,
        overdue_jobs_are_listed_most_overdue_first,
        removable_jobs_are_listed_oldest_first,
        a_ledger_read_returns_the_last_entries,
        pages_have_no_gaps_and_no_repeats,
        a_list_shows_only_the_selected_statuses,
        a_deleted_job_is_gone_and_its_key_is_spent,
        a_healthy_store_answers;
    teams:
        a_user_is_in_one_team_at_a_time_or_in_none,
        a_team_survives_a_reopen_and_is_seen_by_another_process,
        a_team_pays_for_its_members_and_not_for_others,
        an_insert_reports_that_the_user_is_in_another_team,
        a_list_of_a_team_is_newest_first_page_by_page;
    watching:
        a_watcher_sees_the_snapshot_first_and_then_every_state,
        a_watcher_of_changes_sees_every_state_after_the_call,
        a_watcher_waits_for_a_job_that_does_not_exist_yet,
        a_user_watcher_begins_with_unfinished_jobs_in_the_order_of_their_changes,
        a_user_watcher_sees_every_final_state_however_slow_it_is,
        a_watcher_sees_what_another_process_commits,
        watchers_see_the_writes_of_two_processes,
        a_watcher_of_one_user_sees_nothing_of_another;
}
