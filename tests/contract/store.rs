//! What every job store must do.

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

/// How a backend is opened: all that a backend adds.
#[async_trait]
trait Backend: Sized + Send + Sync {
    /// A fresh, empty store.
    async fn open() -> Self;
    /// The store.
    fn store(&self) -> Stores;
    /// The same data through another handle, as a second process has it.
    fn second(&self) -> Stores;
    /// The same data after everything has been closed.
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
        a_new_job_is_there_and_its_credits_are_held,
        inserting_twice_finds_the_first,
        an_account_that_cannot_pay_is_refused_and_nothing_is_written,
        fifty_submits_with_credit_for_one_make_one_job,
        fifty_submits_of_a_user_who_may_have_three_jobs_make_three,
        a_user_may_have_more_jobs_when_one_ends,
        a_stale_commit_is_a_conflict,
        a_job_that_is_not_there_is_none_and_cannot_be_committed,
        concurrent_compare_and_set_loses_no_increment,
        everything_survives_a_reopen,
        a_ledger_entry_counts_once,
        a_jobs_ledger_entry_counts_once,
        the_balance_is_what_the_ledger_sums_to,
        a_redrive_that_cannot_be_paid_changes_nothing,
        overdue_jobs_come_most_overdue_first,
        old_jobs_are_found_by_age_oldest_first,
        a_ledger_is_read_from_its_end,
        pages_follow_each_other_without_gap_or_repeat,
        a_list_shows_only_the_statuses_asked_for,
        a_deleted_job_is_gone_and_its_key_is_spent,
        a_healthy_store_answers;
    teams:
        a_user_is_in_one_team_at_a_time_or_in_none,
        a_team_survives_a_reopen_and_is_seen_by_another_process,
        a_team_pays_for_its_members_and_not_for_others,
        an_insert_says_when_the_user_is_in_another_team,
        a_list_of_a_team_is_newest_first_page_by_page;
    watching:
        a_watcher_sees_the_snapshot_first_and_then_every_state,
        a_watcher_of_news_hears_every_state_after_the_call,
        a_watcher_waits_for_a_job_that_is_not_there_yet,
        a_user_watcher_begins_with_unfinished_jobs_in_the_order_of_their_changes,
        a_user_watcher_sees_every_final_state_however_slow_it_is,
        a_watcher_sees_what_another_process_commits,
        two_processes_that_both_write_are_both_seen,
        a_watcher_of_one_user_hears_nothing_of_another;
}
