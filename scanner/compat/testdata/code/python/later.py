from .cache import redis_client


def moved(day):
    return redis_client.sunion(f"sold:{day}", f"returned:{day}")
