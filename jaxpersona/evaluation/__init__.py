"""Does a mask change behaviour: multiple choice with controls, paired tests, and the damage done."""
