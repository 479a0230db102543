"""Plans what to fetch of a series: its listing period, the wanted range, the chunks."""
