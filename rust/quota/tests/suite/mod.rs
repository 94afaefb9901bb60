//! What every store promises. `shared_suite!` makes a test of each promise for one store.

pub(crate) mod caller;
pub(crate) mod flying;
pub(crate) mod history;
pub(crate) mod records;
pub(crate) mod settling;
pub(crate) mod taking;

use quota::{Lives, Shelves, Store};

/// An empty store that handles can be opened on.
pub(crate) trait Fixture {
    type Handle: Store + Shelves + 'static;

    /// A handle of its own, as another process has it.
    fn open(&self, lives: Lives) -> Self::Handle;
}

macro_rules! shared_suite {
    ($fixture:expr) => {
        suite::shared_suite! { $fixture; taking:
            grants_exactly_100_of_500_over_two_handles
            grants_as_many_weights_as_fit_at_once
            takes_from_all_windows_or_from_none
            says_which_window_is_full_and_what_is_used
            refuses_everything_but_nothing_at_a_limit_of_zero
            never_refuses_without_a_limit
            takes_once_however_often_it_is_asked
            reads_zero_of_what_was_never_touched
            counts_users_with_odd_names_apart
            grants_what_wants_nothing
            takes_nothing_from_a_bucket_of_another_time
            answers_as_before_when_the_bucket_is_over_meanwhile
            counts_as_far_as_numbers_are_exact
            probes_without_counting
        }
        suite::shared_suite! { $fixture; settling:
            settles_once_however_often_it_is_asked
            corrects_what_was_taken_up_and_down
            goes_by_its_record_rather_than_by_the_callers_word
            gives_nothing_back_after_a_settlement
            corrects_what_was_settled_as_it_was_taken
            never_counts_below_zero
            settles_what_was_never_taken_only_for_who_is_sure
            refuses_a_reservation_that_comes_after_its_end
            settles_in_a_bucket_that_is_over
            settles_once_after_the_lease_is_over
            forgets_an_end_after_its_life
        }
        suite::shared_suite! { $fixture; flying:
            lets_no_more_fly_than_there_are_places
            grants_exactly_the_places_at_once_over_two_handles
            frees_a_place_when_its_lease_is_settled
            frees_a_place_whose_lease_is_silent_for_its_life
            keeps_a_place_whose_lease_is_extended
            lets_a_lease_fly_again_that_was_silent_for_long
            extends_nothing_that_has_ended
            holds_no_place_for_what_is_settled_as_it_is_taken
        }
        suite::shared_suite! { $fixture; history:
            grows_with_every_change_and_only_with_changes
            does_nothing_for_who_saw_more
            raises_counters_and_never_lowers_them
            restores_an_account_that_is_gone
            restores_for_two_who_saw_more_without_end
            reopens_a_lease_without_counting_it
            reopens_nothing_that_is_known
            sets_a_counter_and_says_what_was_there
            sets_nothing_in_a_bucket_of_another_time
            keeps_the_last_hundred_notes
        }
        suite::shared_suite! { $fixture; records:
            keeps_any_bytes_under_any_name
            keeps_shelves_with_odd_names_apart
            forgets_a_record_after_its_life_and_no_other
            puts_only_what_is_absent_or_present
            puts_one_of_many_that_want_to_be_the_first
            holds_no_more_than_it_may
            gives_a_record_to_one_who_takes_it
            tells_what_was_put_after_a_number
            numbers_go_on_when_a_shelf_was_forgotten
        }
    };
    ($fixture:expr; $room:ident: $($promise:ident)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                if let Some(fixture) = $fixture {
                    suite::$room::$promise(&fixture).await;
                }
            }
        )*
    };
}
pub(crate) use shared_suite;
