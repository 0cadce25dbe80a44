"""Maps whoever made them: read and checked, masked, filtered, written with what is known of them."""
