"""The bootloader `none` against the contract of bootloaders: what it does not do stands in its ledger."""

from typing import ClassVar

import pytest

from bootc.bootloaders.none import NoBootloader
from bootc.testing.bootloader import BootloaderSuite, OpenBootloader

OFFERS_NOTHING = "someone else starts the machine: it writes nothing, and does not know what is offered"


class TestNoBootloader(BootloaderSuite):
    deviations: ClassVar = {
        "test_an_image_without_the_bootloader_is_refused": "it needs nothing of an image",
        "test_what_was_written_is_read": OFFERS_NOTHING,
        "test_any_menu_follows_any_other": OFFERS_NOTHING,
        "test_an_empty_menu_offers_nothing": OFFERS_NOTHING,
        "test_a_directory_that_says_otherwise_is_not_followed_in_silence": OFFERS_NOTHING,
        "test_arguments_arrive_to_the_letter_or_are_refused": OFFERS_NOTHING,
        "test_ids_and_titles_are_only_text": OFFERS_NOTHING,
        "test_at_every_power_cut_a_whole_entry_is_the_default": OFFERS_NOTHING,
        "test_a_write_that_was_cut_is_completed_by_the_next": OFFERS_NOTHING,
        "test_prepared_entries_have_their_files_and_are_not_offered": OFFERS_NOTHING,
        "test_what_does_not_fit_is_said_and_the_old_menu_stays": OFFERS_NOTHING,
        "test_room_that_ends_unforeseen_leaves_the_old_menu": OFFERS_NOTHING,
    }

    @pytest.fixture
    def open_bootloader(self) -> OpenBootloader:
        return lambda machine: NoBootloader()
