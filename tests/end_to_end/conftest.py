from small_market import exchange, program

__all__ = ["exchange", "program"]
