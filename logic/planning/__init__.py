"""What a series needs: its listing period, the range wanted, the chunks that fetch it."""
