"""Files made to do harm, built in code: one test a trick, with the advisory that described it beside it."""
